/* Which of two keys signs. */
#include "services/quoted/keyring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Of anvil's well-known mnemonic. */
#define KEY1     "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
#define KEY2     "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"
#define ADDRESS1 "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
#define ADDRESS2 "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
#define OTHER    "0x90F79bf6EB2c4f870365E785982E1f101E93b906"

static char path[64];

static const char *key_file(const char *text)
{
    snprintf(path, sizeof(path), "/tmp/test_keyring.%d", (int)getpid());
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

static int remove_file(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static void finds(void **state)
{
    struct settings_signer both = {KEY1, "", key_file(KEY2 "\n")};
    struct settings_signer one = {KEY1, "", ""};
    struct keyring *ring = NULL;
    struct err err;
    (void)state;
    assert_int_equal(keyring_load(&one, &ring, &err), 0);
    assert_string_equal(keyring_find(ring, "")->address, ADDRESS1);
    assert_ptr_equal(keyring_find(ring, ADDRESS1), &ring->keys[0]);
    assert_null(keyring_find(ring, ADDRESS2));
    keyring_free(&ring);
    assert_null(ring);
    assert_int_equal(keyring_load(&both, &ring, &err), 0);
    assert_string_equal(keyring_find(ring, "")->address, ADDRESS1);
    assert_string_equal(keyring_find(ring, ADDRESS2)->address, ADDRESS2);
    assert_ptr_equal(keyring_find(ring, "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc"),
                     &ring->keys[1]);
    assert_null(keyring_find(ring, OTHER));
    keyring_free(&ring);
}

static void refuses(void **state)
{
    struct settings_signer missing = {KEY1, "", "/nowhere/key"};
    struct settings_signer same = {KEY1, "", key_file(KEY1)};
    struct keyring *ring = NULL;
    struct err err;
    (void)state;
    assert_int_equal(keyring_load(&same, &ring, &err), -1);
    assert_non_null(strstr(err.msg, "the same key"));
    assert_null(strstr(err.msg, "59c6"));
    assert_int_equal(keyring_load(&missing, &ring, &err), -1);
    assert_non_null(strstr(err.msg, "signer.next_key_file: /nowhere/key"));
    struct settings_signer bad = {KEY1, "", key_file("0x12")};
    assert_int_equal(keyring_load(&bad, &ring, &err), -1);
    assert_non_null(strstr(err.msg, "signer.next_key_file"));
    assert_null(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(finds, remove_file),
                                       cmocka_unit_test_teardown(refuses, remove_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
