/* What a key looks like and how it is kept. */
#include "services/adminsvc/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void made_of_randomness(void **state)
{
    char a[KEYS_TEXT + 1], b[KEYS_TEXT + 1];
    (void)state;
    keys_make(a);
    keys_make(b);
    assert_int_equal(strlen(a), KEYS_TEXT);
    assert_int_equal(strncmp(a, "octroi_", 7), 0);
    assert_int_equal(strspn(a + 7, "0123456789abcdef"), 64);
    assert_string_not_equal(a, b);
}

static void kept_as_a_hash(void **state)
{
    char id[KEYS_ID + 1], hash[KEYS_HASH + 1];
    (void)state;
    keys_hash("abc", id, hash);
    assert_string_equal(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(id, "key_ba7816bf8f01cfea");
    assert_true(keys_id_valid(id));
}

static void ids(void **state)
{
    (void)state;
    assert_false(keys_id_valid(""));
    assert_false(keys_id_valid("key_"));
    assert_false(keys_id_valid("key_ba7816bf8f01cfe"));
    assert_false(keys_id_valid("key_ba7816bf8f01cfeaa"));
    assert_false(keys_id_valid("key_BA7816BF8F01CFEA"));
    assert_false(keys_id_valid("sub_ba7816bf8f01cfea"));
}

static void roles(void **state)
{
    enum keys_role role;
    (void)state;
    for (int i = KEYS_VIEWER; i <= KEYS_OWNER; i++) {
        assert_int_equal(keys_role_parse(keys_role_name((enum keys_role)i), &role), 0);
        assert_int_equal(role, i);
    }
    assert_int_equal(keys_role_parse("root", &role), -1);
    assert_true(KEYS_VIEWER < KEYS_OPERATOR && KEYS_OPERATOR < KEYS_OWNER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_of_randomness),
        cmocka_unit_test(kept_as_a_hash),
        cmocka_unit_test(ids),
        cmocka_unit_test(roles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
