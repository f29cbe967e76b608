/* Words to seeds (the vectors of BIP-39's authors), seeds to keys (BIP-32's own), paths, and what
 * is refused of each. */
#include "vectors.h"

#include "libcommon/eth/hd.h"
#include "libcommon/eth/hd_words.h"
#include "libcommon/json.h"

#include <openssl/sha.h>

#define VECTORS SOURCE_DIR "/tests/unit/common/vectors/hd.json"
#define TEN     "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon "

static void holds_the_right_words(void **state)
{
    (void)state;
    AUTO_BUF struct buf text = {0};
    uint8_t hash[32];
    char hex[67];
    for (size_t i = 0; i < HD_WORDS; i++) {
        assert_true(i == 0 || strcmp(hd_words[i - 1], hd_words[i]) < 0);
        buf_printf(&text, "%s\n", hd_words[i]);
    }
    SHA256((const uint8_t *)text.data, text.len, hash);
    hex_encode(hash, sizeof(hash), hex);
    assert_string_equal(hex, "0x2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda");
}

static void makes_seeds(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors_load(VECTORS);
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(all, "mnemonics"), i, v)
    {
        struct err err;
        uint8_t want[HD_SEED], got[HD_SEED];
        vectors_exact(v, "seed", want, sizeof(want));
        assert_int_equal(hd_seed(vectors_str(v, "mnemonic"), "TREZOR", got, &err), 0);
        assert_memory_equal(got, want, sizeof(want));
        AUTO_FREE char *spaced = mem_printf(" \n%s\r\n", vectors_str(v, "mnemonic"));
        char *gap = strchr(spaced + 2, ' ');
        *gap = '\t';
        assert_int_equal(hd_seed(spaced, "TREZOR", got, &err), 0);
        assert_memory_equal(got, want, sizeof(want));
        assert_int_equal(hd_seed(spaced, NULL, got, &err), 0);
        assert_memory_not_equal(got, want, sizeof(want));
    }
    assert_true(i >= 24);
}

static void refuses_mnemonics(void **state)
{
    (void)state;

    static const struct {
        const char *mnemonic;
        const char *says;
    } cases[] = {
        {"", "not 0"},
        {"abandon", "not 1"},
        {TEN "abandon", "not 11"},
        {TEN "abandon about about", "not 13"},
        {TEN "abandon abandon", "checksum"},
        {TEN "about abandon", "checksum"},
        {TEN "abandon About", "word 12"},
        {TEN "abandon abou", "word 12"},
        {TEN "abandon aboutabout", "word 12"},
        {TEN "abandon zzz", "word 12"},
        {"abandon,about", "word 1"},
        {"ab\xc3\xa3ndon", "word 1"},
        {TEN TEN "abandon abandon abandon abandon about", "at most 24"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err;
        uint8_t seed[HD_SEED];
        assert_int_equal(hd_seed(cases[i].mnemonic, NULL, seed, &err), -1);
        assert_contains(err.msg, cases[i].says);
        assert_null(strstr(err.msg, "abandon"));
    }
}

static void refuses_passphrases(void **state)
{
    (void)state;
    struct err err;
    uint8_t seed[HD_SEED];
    char long_one[258];
    memset(long_one, 'x', sizeof(long_one));
    long_one[257] = '\0';
    assert_int_equal(hd_seed(TEN "abandon about", long_one, seed, &err), -1);
    assert_int_equal(hd_seed(TEN "abandon about", long_one + 1, seed, &err), 0);
    assert_int_equal(hd_seed(TEN "abandon about", "p\xc3\xa4ss", seed, &err), -1);
    assert_int_equal(hd_seed(TEN "abandon about", "tab\t", seed, &err), -1);
}

static void derives_the_tree(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors_load(VECTORS);
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(all, "nodes"), i, v)
    {
        struct err err;
        struct hd_path path;
        AUTO_HD_NODE struct hd_node node;
        uint8_t seed[HD_SEED], secret[32], chain[32];
        size_t len = vectors_bytes(v, "seed", seed, sizeof(seed));
        vectors_exact(v, "secret", secret, 32);
        vectors_exact(v, "chain", chain, 32);
        assert_int_equal(hd_master(seed, len, &node, &err), 0);
        assert_int_equal(hd_path_parse(vectors_str(v, "path"), &path, &err), 0);
        for (size_t step = 0; step < path.depth; step++)
            assert_int_equal(hd_child(&node, path.index[step], &err), 0);
        assert_memory_equal(node.key, secret, 32);
        assert_memory_equal(node.key + 32, chain, 32);
    }
    assert_true(i >= 17);
}

static void refuses_seeds(void **state)
{
    (void)state;
    struct err err;
    struct hd_node node;
    uint8_t seed[65] = {1};
    assert_int_equal(hd_master(seed, 15, &node, &err), -1);
    assert_int_equal(hd_master(seed, 65, &node, &err), -1);
}

static void reads_paths(void **state)
{
    (void)state;
    struct err err;
    struct hd_path path;
    assert_int_equal(hd_path_parse("m", &path, &err), 0);
    assert_int_equal(path.depth, 0);
    assert_int_equal(hd_path_parse("m/44'/60h/0'/0/2147483647", &path, &err), 0);
    assert_int_equal(path.depth, 5);
    static const uint32_t want[] = {44 | HD_HARDENED, 60 | HD_HARDENED, HD_HARDENED, 0, 2147483647};
    assert_memory_equal(path.index, want, sizeof(want));
    assert_int_equal(hd_path_parse("m/1/2/3/4/5/6/7/8/9/10", &path, &err), 0);
    assert_int_equal(path.depth, HD_DEPTH_MAX);
}

static void refuses_paths(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "/0",
        "M/0",
        "n",
        "m/",
        "m//0",
        "m/0/",
        "m0",
        "m/-1",
        "m/+1",
        "m/ 1",
        "m/1 ",
        "m/00",
        "m/01",
        "m/2147483648",
        "m/4294967296",
        "m/0''",
        "m/0'h",
        "m/0H",
        "m/0x1",
        "m/a",
        "m/'",
        "m/2147483648'",
        "m/1,2",
        "m/99999999999999999999999",
        "m/1/2/3/4/5/6/7/8/9/10/11",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err;
        struct hd_path path;
        if (hd_path_parse(cases[i], &path, &err) == 0)
            fail_msg("\"%s\" was taken for a path", cases[i]);
    }
}

/* The accounts that development chains fund. */
static void gives_known_addresses(void **state)
{
    (void)state;
    static const char words[] = "test test test test test test test test test test test junk";

    static const struct {
        const char *path, *address;
    } cases[] = {
        {"m/44'/60'/0'/0/0", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"},
        {"m/44'/60'/0'/0/1", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"},
        {"m/44'/60'/0'/0/9", "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err;
        struct sign_key *key = NULL;
        uint8_t address[20];
        char text[43];
        assert_int_equal(hd_key(words, NULL, cases[i].path, &key, &err), 0);
        sign_key_address(key, address);
        sign_key_free(&key);
        hex_address_format(address, text);
        assert_string_equal(text, cases[i].address);
    }
    struct err err;
    struct sign_key *key = NULL;
    assert_int_equal(hd_key(words, NULL, "m/x", &key, &err), -1);
    assert_int_equal(hd_key("test", NULL, "m", &key, &err), -1);
    assert_null(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_the_right_words), cmocka_unit_test(makes_seeds),
        cmocka_unit_test(refuses_mnemonics),     cmocka_unit_test(refuses_passphrases),
        cmocka_unit_test(derives_the_tree),      cmocka_unit_test(refuses_seeds),
        cmocka_unit_test(reads_paths),           cmocka_unit_test(refuses_paths),
        cmocka_unit_test(gives_known_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
