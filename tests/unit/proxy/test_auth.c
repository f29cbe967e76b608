/* Credentials, claims, time, keys, and the lists that requests wait on. */
#include "libcommon/jwt.h"
#include "libcommon/mem.h"
#include "services/proxy/auth.h"
#include "services/proxy/billing_head.h"
#include "services/proxy/billing_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SUB "sub_0123456789abcdef0123456789abcdef"

static void tokens_leave_the_query(void **state)
{
    static const struct {
        const char *query, *rest, *token; /* NULL: none */
        size_t count;
    } cases[] = {
        {"", "", NULL, 0},
        {"?", "?", NULL, 0},
        {"?a=b", "?a=b", NULL, 0},
        {"?access_token=x.y.z", "", "x.y.z", 1},
        {"?a=b&access_token=x&c=d", "?a=b&c=d", "x", 1},
        {"?access_token=x&a", "?a", "x", 1},
        {"?a&access_token=", "?a", "", 1},
        {"?access_token=x&access_token=y", "", "x", 2},
        {"?xaccess_token=x", "?xaccess_token=x", NULL, 0},
        {"?access_token", "?access_token", NULL, 0},
        {"?a&&b", "?a&&b", NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char rest[64];
        const char *token = NULL;
        size_t len = strlen(cases[i].query), rest_len, token_len = 0;
        assert_int_equal(auth_query(cases[i].query, len, rest, &rest_len, &token, &token_len),
                         cases[i].count);
        if (cases[i].count == 0) /* the query is left as it is */
            continue;
        assert_int_equal(rest_len, strlen(cases[i].rest));
        assert_memory_equal(rest, cases[i].rest, rest_len);
        assert_int_equal(token_len, strlen(cases[i].token));
        assert_memory_equal(token, cases[i].token, token_len);
    }
}

static void test_bearer(void **state)
{
    static char long_one[JWT_MAX_LEN + 64];

    static const struct {
        const char *value;
        size_t count;
        enum auth_credentials result;
        const char *token;
    } cases[] = {
        {NULL, 0, AUTH_NONE, NULL},
        {"Bearer a.b.c", 1, AUTH_TOKEN, "a.b.c"},
        {"bearer a.b.c", 1, AUTH_TOKEN, "a.b.c"},
        {"BEARER   a-_.b.c", 1, AUTH_TOKEN, "a-_.b.c"},
        {"Bearer a.b.c", 2, AUTH_WRONG, NULL},
        {"Bearer", 1, AUTH_WRONG, NULL},
        {"Bearer ", 1, AUTH_WRONG, NULL},
        {"", 1, AUTH_WRONG, NULL},
        {"Basic dXNlcjpwYXNz", 1, AUTH_WRONG, NULL},
        {"Bearera.b.c", 1, AUTH_WRONG, NULL},
        {"Bearer a.b.c, Bearer d.e.f", 1, AUTH_WRONG, NULL},
        {"Bearer a.b.c ", 1, AUTH_WRONG, NULL},
        {"Bearer a\tb", 1, AUTH_WRONG, NULL},
        {"Bearer a.b+c/d=", 1, AUTH_WRONG, NULL},
        {long_one, 1, AUTH_WRONG, NULL},
    };

    (void)state;
    memset(long_one, 'a', sizeof(long_one) - 1);
    memcpy(long_one, "Bearer ", 7);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *token = NULL, *why = NULL, *value = cases[i].value;
        size_t len = 0;
        enum auth_credentials result =
            auth_bearer(value, value ? strlen(value) : 0, cases[i].count, &token, &len, &why);
        if (result != cases[i].result)
            fail_msg("case %zu", i);
        if (result == AUTH_WRONG)
            assert_non_null(why);
        if (cases[i].token &&
            (len != strlen(cases[i].token) || strncmp(token, cases[i].token, len)))
            fail_msg("case %zu", i);
    }
}

static void test_claims(void **state)
{
    static const struct {
        const char *text, *issuer, *error;
    } cases[] = {
        {"{'iss':'x','sub':'" SUB "','aud':'api','iat':1,'exp':2,'tier':'t','jti':'j'}", "", NULL},
        {"{'iss':'x','sub':'" SUB "','aud':'api','iat':1,'exp':2}", "x", NULL},
        {"{'iss':'x','sub':'" SUB "','aud':'api','iat':1,'exp':2}", "y", "iss"},
        {"{'sub':'" SUB "','aud':'api','iat':1,'exp':2}", "", "iss"},
        {"{'iss':'x','aud':'api','iat':1,'exp':2}", "", "sub"},
        {"{'iss':'x','sub':'sub_0123456789ABCDEF0123456789abcdef','aud':'api','iat':1,'exp':2}", "",
         "sub"},
        {"{'iss':'x','sub':'sub_','aud':'api','iat':1,'exp':2}", "", "sub"},
        {"{'iss':'x','sub':'" SUB "0','aud':'api','iat':1,'exp':2}", "", "sub"},
        {"{'iss':'x','sub':'" SUB "','aud':['api'],'iat':1,'exp':2}", "", "aud"},
        {"{'iss':'x','sub':'" SUB "','iat':1,'exp':2}", "", "aud"},
        {"{'iss':'x','sub':'" SUB "','aud':'api','iat':1}", "", "exp"},
        {"{'iss':'x','sub':'" SUB "','aud':'api','exp':2}", "", "iat"},
        {"{'iss':'x','sub':'" SUB "','aud':'api','iat':1,'exp':'2'}", "", "exp"},
        {"{'iss':'x','sub':'" SUB "','aud':'api','iat':1,'exp':-2}", "", "exp"},
        {"{'iss':'x','sub':'" SUB "','aud':'api','iat':1,'exp':9223372036854775807}", "", "exp"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *text = mem_strdup(cases[i].text);
        for (char *c = text; *c; c++)
            if (*c == '\'')
                *c = '"';
        AUTO_JSON json_t *json = NULL;
        struct token_claims claims;
        struct err err = {""};
        assert_int_equal(json_parse(text, strlen(text), &json, &err), 0);
        int failed = auth_claims(json, cases[i].issuer, &claims, &err);
        if (!!failed != !!cases[i].error || (failed && !strstr(err.msg, cases[i].error)))
            fail_msg("case %zu: %s", i, err.msg);
        if (!failed)
            assert_string_equal(claims.aud, "api");
    }
}

static void test_time(void **state)
{
    static const struct {
        int64_t wall_s, grace_s;
        enum auth_time result;
    } cases[] = {
        {1000, 0, AUTH_NOW},       {995, 0, AUTH_NOW},        {994, 0, AUTH_NOT_YET},
        {1300, 0, AUTH_NOW},       {1304, 0, AUTH_NOW},       {1305, 0, AUTH_EXPIRED},
        {1305, 60, AUTH_IN_GRACE}, {1359, 60, AUTH_IN_GRACE}, {1360, 60, AUTH_EXPIRED},
    };
    struct token_claims claims = {.iat = 1000, .exp = 1300};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (auth_judge_time(&claims, cases[i].wall_s, cases[i].grace_s) != cases[i].result)
            fail_msg("case %zu", i);
}

static struct jwt_key *new_key(void)
{
    AUTO_FREE char *pem = NULL;
    struct jwt_key *key;
    struct err err;
    assert_int_equal(jwt_key_generate(&pem, &err), 0);
    assert_int_equal(jwt_key_from_pem(pem, strlen(pem), &key, &err), 0);
    return key;
}

static struct billing_keys *set_of(const struct jwt_key *a, const struct jwt_key *b)
{
    AUTO_JSON json_t *set = json_pack("{s:[o]}", "keys", jwt_key_to_jwk(a));
    struct billing_keys *keys;
    struct err err;
    if (b)
        json_array_append_new(json_object_get(set, "keys"), jwt_key_to_jwk(b));
    json_array_append_new(json_object_get(set, "keys"), json_pack("{s:s}", "kty", "RSA"));
    assert_int_equal(billing_keys_new(set, &keys, &err), 0);
    return keys;
}

static void test_keys(void **state)
{
    struct jwt_key *a = new_key(), *b = new_key();
    struct billing_keys *one = set_of(a, NULL), *both = set_of(a, b);
    AUTO_JSON json_t *bad = json_pack("{s:i}", "keys", 1);
    struct billing_keys *none;
    struct err err;
    (void)state;
    assert_int_equal(one->count, 1);
    assert_non_null(billing_keys_find(both, jwt_key_id(b)));
    assert_null(billing_keys_find(one, jwt_key_id(b)));
    assert_null(billing_keys_find(NULL, jwt_key_id(b)));
    assert_false(billing_keys_withdrawn(NULL, one));
    assert_false(billing_keys_withdrawn(one, both));
    assert_true(billing_keys_withdrawn(both, one));
    assert_int_equal(billing_keys_new(bad, &none, &err), -1);
    billing_keys_unref(billing_keys_ref(one));
    billing_keys_unref(one);
    billing_keys_unref(both);
    billing_keys_unref(NULL);
    jwt_key_free(&a);
    jwt_key_free(&b);
}

static void test_head(void **state)
{
    struct billing_head head = {0};
    const int64_t second = 1000000000;
    (void)state;
    assert_false(billing_head_beat(&head, 10, second));
    assert_false(billing_head_changed(&head, 11));
    assert_false(billing_head_changed(&head, 11)); /* delivered again */
    assert_true(billing_head_changed(&head, 13));
    assert_false(billing_head_changed(&head, 12)); /* late, out of order */
    assert_false(billing_head_beat(&head, 13, 2 * second));
    assert_false(billing_head_beat(&head, 14, 3 * second));
    assert_false(billing_head_changed(&head, 14)); /* the change came after the beat */
    assert_false(billing_head_beat(&head, 14, 5 * second));
    assert_false(billing_head_beat(&head, 16, 6 * second));
    assert_true(billing_head_beat(&head, 16, 7 * second));
    assert_false(billing_head_beat(&head, 16, 9 * second));
}

static void test_waits(void **state)
{
    struct billing_waits list, other, ages;
    struct billing_wait waits[4] = {0};
    (void)state;
    billing_waits_init(&list);
    billing_waits_init(&other);
    billing_waits_init(&ages);
    for (int i = 0; i < 4; i++)
        billing_wait_park(&waits[i], &list, &ages);
    assert_int_equal(billing_waits_count(&list), 4);
    billing_waits_move(&other, &list);
    assert_true(billing_waits_empty(&list));
    billing_wait_leave(&waits[1]); /* its client has gone */
    billing_wait_leave(&waits[1]);
    assert_ptr_equal(billing_waits_pop(&other), &waits[0]);
    billing_wait_park(&waits[0], &list, &ages); /* waits again, as old as before */
    assert_ptr_equal(billing_waits_oldest(&ages), &waits[0]);
    assert_ptr_equal(billing_waits_pop(&other), &waits[2]);
    billing_wait_leave(&waits[2]);
    assert_ptr_equal(billing_waits_pop(&other), &waits[3]);
    assert_null(billing_waits_pop(&other));
    billing_wait_leave(&waits[3]);
    billing_wait_leave(&waits[0]);
    assert_null(billing_waits_oldest(&ages));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bearer), cmocka_unit_test(tokens_leave_the_query),
        cmocka_unit_test(test_claims), cmocka_unit_test(test_time),
        cmocka_unit_test(test_keys),   cmocka_unit_test(test_head),
        cmocka_unit_test(test_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
