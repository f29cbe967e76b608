/* The sample configuration loads, wrong ones say where they are wrong; keys sign and verify. */
#include "services/subd/keyring.h"
#include "services/subd/revoke.h"
#include "services/subd/settings.h"
#include "services/subd/subd.h"

#include "libcommon/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEAST                                                                                      \
    "postgres: postgresql://localhost/octroi\npublic_url: http://localhost:8080\nchain_id: 4441\n" \
    "tokens: { keys: [a.pem] }\nnats: { urls: [\"nats://localhost\"] }\n"

static int parse(const char *text, struct config **out, struct err *err)
{
    return config_parse("test.yaml", text, strlen(text), &settings_schema, out, err);
}

static void defaults(void **unused)
{
    (void)unused;
    struct config *config = NULL;
    struct err err;
    if (parse(LEAST, &config, &err) != 0)
        fail_msg("%s", err.msg);
    const struct settings *settings = config_root(config);
    assert_string_equal(settings->http.address, "127.0.0.1:8103");
    assert_string_equal(settings->service.ops.address, "127.0.0.1:9483");
    assert_int_equal(settings->tokens.access_ms, 300000);
    assert_int_equal(settings->lease_ms, 1800000);
    assert_int_equal(settings->chain_id, 4441);
    config_free(&config);
}

static void sample(void **unused)
{
    (void)unused;
    struct config *config = NULL;
    struct err err;
    if (config_load(SOURCE_DIR "/config/subd.yaml", &settings_schema, &config, &err) != 0)
        fail_msg("%s", err.msg);
    config_free(&config);
}

static void refused(void **unused)
{
    (void)unused;
    static const char *const rows[] = {
        "",
        LEAST "other: 1\n",
        LEAST "lease: 10ms\n",
        LEAST "http: { threads: 0 }\n",
        "postgres: x\npublic_url: ftp://x\nchain_id: 1\ntokens: { keys: [a] }\n",
        "postgres: x\npublic_url: http://x/path\nchain_id: 1\ntokens: { keys: [a] }\n",
        "postgres: x\npublic_url: 'http://'\nchain_id: 1\ntokens: { keys: [a] }\n",
        "postgres: x\npublic_url: http://x\nchain_id: -1\ntokens: { keys: [a] }\n",
        "postgres: x\npublic_url: http://x\nchain_id: 1\ntokens: { keys: [] }\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *config = NULL;
        struct err err = {""};
        if (parse(rows[i], &config, &err) == 0)
            fail_msg("row %zu was accepted", i);
        assert_non_null(strstr(err.msg, "test.yaml"));
    }
}

/* The file, what is said beside it, and the two of them at odds. */
static void domain(void **unused)
{
    static const char file_[] =
        "{\"chain_id\":4441,\"contract\":\"0x00000000000000000000000000000000000c0de5\"}";
    static const char same[] = "0x00000000000000000000000000000000000c0de5",
                      other[] = "0x00000000000000000000000000000000000c0de6";

    static const struct {
        const char *text; /* of the file; NULL: none */
        int64_t chain_id;
        const char *contract;
        int rc;
    } rows[] = {
        {file_, 0, "", 0},     {file_, 4441, same, 0},
        {NULL, 4441, same, 0}, {file_, 4442, "", -1},
        {file_, 0, other, -1}, {NULL, 4441, "", -1},
        {NULL, 0, same, -1},   {NULL, 4441, "x", -1},
        {"", 0, "", -1},       {"{\"chain_id\":4441}", 0, "", -1},
    };

    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[] = "/tmp/octroi-deployment-XXXXXX";
        struct quote_domain out;
        struct err err;
        if (rows[i].text) {
            FILE *file = fdopen(mkstemp(path), "w");
            assert_non_null(file);
            assert_true(fputs(rows[i].text, file) >= 0);
            fclose(file);
        }
        const struct settings settings = {.chain_id = rows[i].chain_id,
                                          .contract = rows[i].contract,
                                          .deployment = rows[i].text ? path : ""};
        int rc = settings_domain(&settings, &out, &err);
        remove(path);
        if (rc != rows[i].rc)
            fail_msg("row %zu: %d", i, rc);
        if (rc)
            continue;
        assert_int_equal(out.chain_id, 4441);
        assert_int_equal(out.contract[19], 0xe5);
    }
}

static void keys(void **unused)
{
    (void)unused;
    struct err err;
    AUTO_FREE char *first = NULL;
    AUTO_FREE char *second = NULL;
    assert_int_equal(jwt_key_generate(&first, &err), 0);
    assert_int_equal(jwt_key_generate(&second, &err), 0);
    const char *both[] = {first, second}, *swapped[] = {second, first}, *one[] = {second};
    struct keyring *old = NULL, *new = NULL, *other = NULL;
    assert_int_equal(keyring_new(&(struct config_list){both, 2}, &old, &err), 0);
    assert_int_equal(keyring_new(&(struct config_list){swapped, 2}, &new, &err), 0);
    assert_int_equal(keyring_new(&(struct config_list){one, 1}, &other, &err), 0);
    AUTO_JSON json_t *claims = json_pack("{s:s}", "sub", "x");
    AUTO_FREE char *token = NULL;
    assert_int_equal(keyring_sign(old, claims, &token, &err), 0);
    AUTO_JSON json_t *back = NULL;
    assert_int_equal(keyring_verify(new, token, &back, &err), 0); /* rotation refuses nobody */
    assert_true(json_equal(claims, back));
    AUTO_JSON json_t *none = NULL;
    assert_int_equal(keyring_verify(other, token, &none, &err), -1);
    assert_int_equal(keyring_verify(old, "x.y.z", &none, &err), -1);
    AUTO_JSON json_t *set = json_loads(keyring_jwks(old), 0, NULL);
    assert_int_equal(json_array_size(json_object_get(set, "keys")), 2);
    assert_null(strstr(keyring_jwks(old), "\"d\""));
    keyring_free(&old);
    keyring_free(&new);
    keyring_free(&other);
}

static void wrong_keys(void **unused)
{
    (void)unused;
    static const char *const entries[] = {"/nonexistent/key.pem", "-----BEGIN PRIVATE KEY-----\nx",
                                          "/dev/null"};
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        struct keyring *keyring = NULL;
        struct err err = {""};
        const char *one[] = {entries[i]};
        assert_int_equal(keyring_new(&(struct config_list){one, 1}, &keyring, &err), -1);
        assert_non_null(strstr(err.msg, "tokens.keys[0]"));
        assert_null(strstr(err.msg, "BEGIN"));
    }
}

static void revocations(void **unused)
{
    (void)unused;

    static const struct {
        const char *text;
        int rc;
    } rows[] = {
        {"{\"subscription\":\"sub_00112233445566778899aabbccddeeff\",\"reason\":\"r\",\"actor\":"
         "\"key_1\"}",
         0},
        {"{\"subscription\":\"sub_00112233445566778899AABBCCDDEEFF\",\"reason\":\"r\",\"actor\":"
         "\"key_1\"}",
         -1},
        {"{\"subscription\":\"sub_00112233445566778899aabbccddeeff\",\"actor\":\"key_1\"}", -1},
        {"{\"subscription\":1,\"reason\":\"r\",\"actor\":\"key_1\"}", -1},
        {"[]", -1},
        {"", -1},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct revoke_request request;
        struct err err;
        assert_int_equal(revoke_decode(rows[i].text, strlen(rows[i].text), &request, &err),
                         rows[i].rc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(domain),      cmocka_unit_test(defaults), cmocka_unit_test(sample),
        cmocka_unit_test(refused),     cmocka_unit_test(keys),     cmocka_unit_test(wrong_keys),
        cmocka_unit_test(revocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
