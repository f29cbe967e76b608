/* Access tokens: against jose, and everything a forger may try. */
#include "vectors.h"

#include "libcommon/json.h"
#include "libcommon/jwt.h"

#include <stdio.h>

struct fixture {
    json_t *all;
    struct jwt_key *key; /* private */
    struct jwt_key *pub; /* the same, public */
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    struct err err;
    f->all = vectors_load(SOURCE_DIR "/tests/unit/common/vectors/jwt.json");
    const char *pem = vectors_str(f->all, "pem");
    if (jwt_key_from_pem(pem, strlen(pem), &f->key, &err) != 0 ||
        jwt_key_from_jwk(json_object_get(f->all, "jwk"), &f->pub, &err) != 0)
        fail_msg("%s", err.msg);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    jwt_key_free(&f->key);
    jwt_key_free(&f->pub);
    json_cleanup(&f->all);
    free(f);
    return 0;
}

static void agrees_with_jose(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"token", "reordered"};
    const json_t *jwk = json_object_get(f->all, "jwk");
    assert_string_equal(jwt_key_id(f->key), vectors_str(jwk, "kid"));
    AUTO_JSON json_t *ours = jwt_key_to_jwk(f->key);
    assert_true(json_equal(ours, jwk));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *token = vectors_str(f->all, names[i]);
        char kid[JWT_KID_LEN + 1];
        AUTO_JSON json_t *claims = NULL;
        struct err err;
        assert_int_equal(jwt_peek(token, strlen(token), kid, &err), 0);
        assert_string_equal(kid, jwt_key_id(f->key));
        if (jwt_verify(f->pub, token, strlen(token), &claims, &err) != 0)
            fail_msg("%s", err.msg);
        assert_true(json_equal(claims, json_object_get(f->all, "claims")));
    }
}

static void verifies_what_it_signed(void **state)
{
    struct fixture *f = *state;
    struct err err;
    for (int i = 0; i < 50; i++) { /* r and s of every length of leading zeros that come */
        AUTO_JSON json_t *claims = json_pack("{s:i}", "n", i);
        AUTO_JSON json_t *back = NULL;
        AUTO_FREE char *token = NULL;
        assert_int_equal(jwt_sign(f->key, claims, &token, &err), 0);
        assert_int_equal(jwt_verify(f->pub, token, strlen(token), &back, &err), 0);
        assert_true(json_equal(claims, back));
    }
}

static void refuse(const struct jwt_key *key, const char *token, size_t len, const char *error)
{
    json_t *claims = NULL;
    struct err err = {""};
    assert_int_equal(jwt_verify(key, token, len, &claims, &err), -1);
    assert_null(claims);
    assert_contains(err.msg, error);
}

/* Our own good payload and signature under another header. */
static void refuses_headers(void **state)
{
    struct fixture *f = *state;
    const char *good = vectors_str(f->all, "token"), *kid = jwt_key_id(f->key);

    static const struct {
        const char *header, *error;
    } cases[] = {
        {"{\"alg\":\"none\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", "alg: must be ES256"},
        {"{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", "alg: must be ES256"},
        {"{\"alg\":\"es256\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", "alg: must be ES256"},
        {"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%s\"}", "typ: must be at+jwt"},
        {"{\"alg\":\"ES256\",\"kid\":\"%s\"}", "typ: missing"},
        {"{\"typ\":\"at+jwt\",\"kid\":\"%s\"}", "alg: missing"},
        {"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"crit\":[],\"kid\":\"%s\"}",
         "crit: unknown member"},
        {"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"jwk\":{},\"kid\":\"%s\"}", "jwk: unknown member"},
        {"{\"alg\":\"ES256\",\"alg\":\"none\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", "not JSON"},
        {"{\"alg\":[\"ES256\"],\"typ\":\"at+jwt\",\"kid\":\"%s\"}", "alg: must be a string"},
        {"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":"
         "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
         "of another key"},
        {"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"short\"}", "kid: must be"},
        {"[\"%s\"]", "must be an object"},
        {"%s", "not JSON"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char header[256];
        const char *at = strstr(cases[i].header, "%s");
        if (at == NULL)
            snprintf(header, sizeof(header), "%s", cases[i].header);
        else
            snprintf(header, sizeof(header), "%.*s%s%s", (int)(at - cases[i].header),
                     cases[i].header, kid, at + 2);
        AUTO_FREE char *encoded = jwt_b64url(header, strlen(header));
        AUTO_FREE char *token = mem_printf("%s%s", encoded, strchr(good, '.'));
        refuse(f->pub, token, strlen(token), cases[i].error);
    }
    refuse(f->pub, vectors_str(f->all, "bad_typ"), strlen(vectors_str(f->all, "bad_typ")), "typ");
    refuse(f->pub, vectors_str(f->all, "with_jku"), strlen(vectors_str(f->all, "with_jku")),
           "jku: unknown");
}

static void refuses_forms(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *good = mem_strdup(vectors_str(f->all, "token"));
    size_t len = strlen(good);
    for (size_t cut = 0; cut < len; cut++) {
        json_t *claims = NULL;
        assert_int_equal(jwt_verify(f->pub, good, cut, &claims, NULL), -1);
    }
    AUTO_FREE char *longer = mem_printf("%s.", good);
    refuse(f->pub, longer, strlen(longer), "three parts");
    AUTO_FREE char *padded = mem_printf("%s=", good);
    refuse(f->pub, padded, strlen(padded), "64 bytes");
    AUTO_FREE char *huge = mem_zalloc(JWT_MAX_LEN + 2);
    memset(huge, 'a', JWT_MAX_LEN + 1);
    refuse(f->pub, huge, JWT_MAX_LEN + 1, "longer than");
    refuse(f->pub, "..", 2, "64 bytes");
    refuse(f->pub, "", 0, "three parts");
}

/* Each character of the token matters: any other is refused, the last one of the signature, whose
 * low bits carry nothing, too. */
static void refuses_any_change(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *token = mem_strdup(vectors_str(f->all, "token"));
    size_t len = strlen(token);
    for (size_t i = 0; i < len; i++) {
        char kept = token[i];
        json_t *claims = NULL;
        token[i] = kept == 'A' ? 'B' : 'A';
        assert_int_equal(jwt_verify(f->pub, token, len, &claims, NULL), -1);
        token[i] = kept;
    }
    static const char others[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char last = token[len - 1];
    for (size_t i = 0; i < sizeof(others) - 1; i++) {
        json_t *claims = NULL;
        token[len - 1] = others[i];
        int rc = jwt_verify(f->pub, token, len, &claims, NULL);
        assert_int_equal(rc, others[i] == last ? 0 : -1);
        json_cleanup(&claims);
    }
}

static void refuses_another_key(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *pem = NULL;
    AUTO_FREE char *token = NULL;
    struct jwt_key *other = NULL;
    struct err err;
    AUTO_JSON json_t *claims = json_object();
    assert_int_equal(jwt_key_generate(&pem, &err), 0);
    assert_int_equal(jwt_key_from_pem(pem, strlen(pem), &other, &err), 0);
    assert_int_equal(jwt_sign(other, claims, &token, &err), 0);
    refuse(f->pub, token, strlen(token), "of another key");
    /* Its signature under our header. */
    const char *ours = vectors_str(f->all, "token");
    AUTO_FREE char *mixed =
        mem_printf("%.*s%s", (int)(strchr(ours, '.') - ours), ours, strchr(token, '.'));
    refuse(f->pub, mixed, strlen(mixed), "signature is wrong");
    jwt_key_free(&other);
}

static void refuses_zero_signatures(void **state)
{
    struct fixture *f = *state;
    const char *good = vectors_str(f->all, "token");
    static const uint8_t zeros[64];
    AUTO_FREE char *tail = jwt_b64url(zeros, sizeof(zeros));
    AUTO_FREE char *token = mem_printf("%.*s.%s", (int)(strrchr(good, '.') - good), good, tail);
    refuse(f->pub, token, strlen(token), "signature is wrong");
}

static void keys_are_strict(void **state)
{
    struct fixture *f = *state;

    static const struct {
        const char *member, *value, *error;
    } cases[] = {
        {"kty", "RSA", "kty: must be EC"},
        {"crv", "P-384", "crv: must be P-256"},
        {"alg", "ES384", "alg: must be ES256"},
        {"use", "enc", "use: must be sig"},
        {"d", "AAAA", "d: unknown member"},
        {"kid", "x", "kid: must be the key's thumbprint"},
        {"x", "AAAA", "x: must be 32 bytes"},
        {"y", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "not a point"},
        {"kid", NULL, "kid: missing"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_JSON json_t *jwk = json_deep_copy(json_object_get(f->all, "jwk"));
        struct jwt_key *key = NULL;
        struct err err;
        if (cases[i].value == NULL)
            json_object_del(jwk, cases[i].member);
        else
            json_object_set_new(jwk, cases[i].member, json_string(cases[i].value));
        assert_int_equal(jwt_key_from_jwk(jwk, &key, &err), -1);
        assert_contains(err.msg, cases[i].error);
    }
    struct jwt_key *key = NULL;
    struct err err;
    assert_int_equal(jwt_key_from_pem("nonsense", 8, &key, &err), -1);
    AUTO_FREE char *token = NULL;
    AUTO_JSON json_t *claims = json_object();
    assert_int_equal(jwt_sign(f->pub, claims, &token, &err), -1);
}

static void base64url_is_canonical(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        int rc;
    } cases[] = {{"", 0},    {"AA", 0},   {"AB", -1},    {"AAA", 0},   {"AAB", -1},
                 {"A", -1},  {"AAAA", 0}, {"AAAAA", -1}, {"AA==", -1}, {"A+", -1},
                 {"A/", -1}, {"-_-_", 0}, {"A A", -1}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE unsigned char *out = NULL;
        size_t len;
        assert_int_equal(jwt_b64url_decode(cases[i].text, strlen(cases[i].text), &out, &len),
                         cases[i].rc);
    }
    for (size_t n = 0; n < 70; n++) {
        uint8_t data[70];
        for (size_t i = 0; i < n; i++)
            data[i] = (uint8_t)(i * 37 + n);
        AUTO_FREE char *text = jwt_b64url(data, n);
        AUTO_FREE unsigned char *back = NULL;
        size_t len = 0;
        assert_int_equal(jwt_b64url_decode(text, strlen(text), &back, &len), 0);
        assert_int_equal(len, n);
        assert_memory_equal(back, data, n);
    }
}

static void signs_no_token_that_is_too_long(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *text = mem_zalloc(JWT_MAX_LEN);
    memset(text, 'x', JWT_MAX_LEN - 1);
    AUTO_JSON json_t *claims = json_pack("{s:s}", "x", text);
    AUTO_FREE char *token = NULL;
    struct err err;
    assert_int_equal(jwt_sign(f->key, claims, &token, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_jose),
        cmocka_unit_test(verifies_what_it_signed),
        cmocka_unit_test(refuses_headers),
        cmocka_unit_test(refuses_forms),
        cmocka_unit_test(refuses_any_change),
        cmocka_unit_test(refuses_another_key),
        cmocka_unit_test(refuses_zero_signatures),
        cmocka_unit_test(keys_are_strict),
        cmocka_unit_test(base64url_is_canonical),
        cmocka_unit_test(signs_no_token_that_is_too_long),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
