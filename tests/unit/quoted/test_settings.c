/* What configuration and deployment file say together, and what is refused. */
#include "services/quoted/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define A "0x5FbDB2315678afecb367f032d93F642f64180aa3"
#define B "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"
#define DEPLOYED                                                                                   \
    "{\"chain_id\": 4441, \"contract\": \"" A "\", \"tokens\": [{\"token\": \"" B                  \
    "\", \"index\": 1}]}"

struct row {
    struct settings_chain chain;
    const char *deployment;
    const char *error; /* NULL: fine */
};

static const struct row rows[] = {
    {{0, "", "d.json", 0}, DEPLOYED, NULL},
    {{4441, A, "d.json", 0}, DEPLOYED, NULL},
    {{4441, A, "", 0}, NULL, NULL},
    {{1, "", "d.json", 0}, DEPLOYED, "chain.id: 1, but"},
    {{0, B, "d.json", 0}, DEPLOYED, "chain.contract: another one"},
    {{0, A, "", 0}, NULL, "chain.id: missing"},
    {{1, "", "", 0}, NULL, "chain.contract: missing"},
    {{1, "0x12", "", 0}, NULL, "chain.contract"},
    {{0, "", "d.json", 0}, "", "d.json"},
    {{0, "", "d.json", 0}, "[]", "d.json"},
    {{0, "", "d.json", 0},
     "{\"chain_id\": 0, \"contract\": \"" A "\", \"tokens\": []}",
     "chain_id"},
    {{0, "", "d.json", 0}, "{\"chain_id\": 1, \"contract\": \"" A "\"}", "tokens"},
    {{0, "", "d.json", 0},
     "{\"chain_id\": 1, \"contract\": \"" A "\", \"tokens\": [{\"token\": \"x\", \"index\": 1}]}",
     "tokens[0]"},
    {{0, "", "d.json", 0},
     "{\"chain_id\": 1, \"contract\": \"" A "\", \"tokens\": [{\"token\": \"" B
     "\", \"index\": 128}]}",
     "index"},
    {{0, "", "d.json", 0},
     "{\"chain_id\": 1, \"contract\": \"" A "\", \"tokens\": [], \"receipt_signer\": \"0x12\"}",
     "receipt_signer"},
    {{0, "", "d.json", 0},
     "{\"chain_id\": 1, \"contract\": \"" A "\", \"tokens\": [], \"receipt_signer\": null}",
     NULL},
};

static void chains(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pricebook_chain out;
        struct err err = {""};
        const char *text = rows[i].deployment;
        int rc =
            settings_resolve(&rows[i].chain, text, text != NULL ? strlen(text) : 0, &out, &err);
        assert_int_equal(rc, rows[i].error == NULL ? 0 : -1);
        if (rows[i].error != NULL && strstr(err.msg, rows[i].error) == NULL)
            fail_msg("\"%s\" is not in \"%s\"", rows[i].error, err.msg);
        if (rows[i].error == NULL)
            assert_int_equal(out.domain.contract[0], 0x5f);
    }
}

static void signers(void **state)
{
    static const char secret[] =
        "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
    struct settings_signer good = {secret, "", ""}, none = {"", "", ""}, bad = {"0x59c6", "", ""},
                           missing = {"", "/nonexistent/key", ""};
    struct sign_key *key = NULL;
    struct err err;
    (void)state;
    assert_int_equal(settings_signer(&good, &key, &err), 0);
    sign_key_free(&key);
    assert_int_equal(settings_signer(&none, &key, &err), -1);
    assert_int_equal(settings_signer(&missing, &key, &err), -1);
    assert_int_equal(settings_signer(&bad, &key, &err), -1);
    assert_null(strstr(err.msg, "59c6"));
}

/* Everything at once, through the table. */
static void whole_files(void **state)
{
    static const struct {
        const char *extra;
        const char *error;
    } files[] = {
        {"", NULL},
        {"ttl: 90s\n", "whole minutes"},
        {"ttl: 30s\n", "ttl"},
        {"ttl: 2h\n", "ttl"},
        {"public_url: ftp://x\n", "public_url"},
        {"public_url: \"https://x/\"\n", "public_url"},
        {"public_url: \"https://x y\"\n", "public_url"},
        {"limits: { subscriber_per_minute: 0 }\n", "subscriber_per_minute"},
        {"unknown: 1\n", "unknown"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char text[2000];
        struct config *config = NULL;
        struct err err = {""};
        snprintf(text, sizeof(text),
                 "postgres: postgresql://x@y/z\n"
                 "nats: { urls: [\"nats://127.0.0.1:4222\"] }\n"
                 "chain: { id: 1, contract: \"" A "\" }\n"
                 "signer: \"0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d\"\n"
                 "pricebook: \"%s/tests/unit/quoted/book.yaml\"\n%s",
                 SOURCE_DIR, files[i].extra);
        int rc = config_parse("q.yaml", text, strlen(text), &settings_schema, &config, &err);
        if (rc != (files[i].error == NULL ? 0 : -1))
            fail_msg("%s: %s", files[i].extra, err.msg);
        if (files[i].error != NULL && strstr(err.msg, files[i].error) == NULL)
            fail_msg("\"%s\" is not in \"%s\"", files[i].error, err.msg);
        config_free(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains),
        cmocka_unit_test(signers),
        cmocka_unit_test(whole_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
