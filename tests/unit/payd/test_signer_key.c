/* The files that the key comes from, as editors, shells and secret stores leave them. */
#include "../common/vectors.h"

#include "libcommon/eth/sign.h"
#include "services/payd/signer/key.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS "test test test test test test test test test test test junk"

static char directory[] = "/tmp/octroi-key-XXXXXX";
static char words[64], password[64], other[64];

static void put(const char *path, const char *text, size_t len)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(words, sizeof(words), "%s/words", directory);
    snprintf(password, sizeof(password), "%s/password", directory);
    snprintf(other, sizeof(other), "%s/other", directory);
    put(words, WORDS "\r\n", strlen(WORDS) + 2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(words);
    unlink(password);
    unlink(other);
    return rmdir(directory);
}

/* The address with this passphrase file; the error's text where there is none. */
static const char *load(const char *password_file, char out[512])
{
    struct err err = {{0}};
    struct sign_key *key = NULL;
    struct key_files files = {
        .mnemonic_file = words, .password_file = password_file, .path = "m/44'/60'/0'/0/0"};
    if (key_load(&files, &key, &err) == 0) {
        uint8_t address[20];
        sign_key_address(key, address);
        hex_address_format(address, out);
        sign_key_free(&key);
        return out;
    }
    assert_null(key);
    return strcpy(out, err.msg);
}

/* As cast derives them: without a passphrase, and with "p". */
#define BARE "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
#define WITH "0xb692Fbffa86CFbB83cc4F5fF76cDcB80fEb66b4d"

static void cuts_one_line_end_off_a_password(void **state)
{
    (void)state;
    char bare[512], with[512], got[512];
    load(NULL, bare);
    assert_string_equal(bare, BARE);
    put(password, "p", 1);
    load(password, with);
    assert_string_equal(with, WITH);

    static const struct {
        const char *text;
        size_t len;
        bool bare, with;
        const char *says;
    } cases[] = {
        {"p\n", 2, false, true, NULL},    {"p\r\n", 3, false, true, NULL},
        {"", 0, true, false, NULL},       {"\n", 1, true, false, NULL},
        {"\r\n", 2, true, false, NULL},   {"p ", 2, false, false, NULL},
        {" p", 2, false, false, NULL},    {"p\n\n", 3, false, false, "ASCII"},
        {"p\0q", 3, false, false, "NUL"}, {"\xef\xbb\xbfp", 4, false, false, "ASCII"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        put(password, cases[i].text, cases[i].len);
        load(password, got);
        assert_int_equal(strcmp(got, bare) == 0, cases[i].bare);
        assert_int_equal(strcmp(got, with) == 0, cases[i].with);
        if (cases[i].says != NULL)
            assert_contains(got, cases[i].says);
        else
            assert_int_equal(got[0], '0');
    }
}

static void reads_regular_files_of_a_bounded_size(void **state)
{
    (void)state;
    char got[512], large[1025];
    memset(large, 'p', sizeof(large));
    put(password, large, sizeof(large));
    assert_contains(load(password, got), "larger than 1024");
    put(password, large, 1024);
    assert_contains(load(password, got), "256");
    unlink(password);
    /* Secret stores mount files as links; a pipe would hang the start. */
    put(other, "p", 1);
    assert_int_equal(symlink(other, password), 0);
    assert_int_equal(load(password, got)[0], '0');
    unlink(other);
    assert_contains(load(password, got), "No such file");
    unlink(password);
    assert_int_equal(mkfifo(password, 0600), 0);
    assert_contains(load(password, got), "regular");
    unlink(password);
    assert_contains(load("p", got), "not shown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_one_line_end_off_a_password),
        cmocka_unit_test(reads_regular_files_of_a_bounded_size),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
