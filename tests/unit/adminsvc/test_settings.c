/* The first owner's key: from the file or its own file, long enough, and never in an error. */
#include "services/adminsvc/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void bootstrap_keys(void **state)
{
    static const struct {
        struct settings_bootstrap bootstrap;
        const char *error;
        const char *key;
    } rows[] = {
        {{"", ""}, NULL, NULL},
        {{"octroi_0123456789abcdef0123456789abcdef", ""},
         NULL,
         "octroi_0123456789abcdef0123456789abcdef"},
        {{"short", ""}, "32 to", NULL},
        {{"0123456789abcdef 0123456789abcdef", ""}, "without spaces", NULL},
        {{"", "/nonexistent/key"}, "bootstrap.key_file", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {""};
        char *key = NULL;
        int rc = settings_bootstrap_key(&rows[i].bootstrap, &key, &err);
        assert_int_equal(rc, rows[i].error == NULL ? 0 : -1);
        if (rows[i].error != NULL) {
            assert_non_null(strstr(err.msg, rows[i].error));
            assert_null(strstr(err.msg, "0123"));
        } else if (rows[i].key != NULL) {
            assert_string_equal(key, rows[i].key);
        } else {
            assert_null(key);
        }
        free(key);
    }
}

static void whole_files(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } rows[] = {
        {"postgres: postgresql://a@b/c\nnats: { urls: [\"nats://x:1\"] }\n", NULL},
        {"nats: { urls: [\"nats://x:1\"] }\n", "postgres: is missing"},
        {"postgres: x\nnats: { urls: [\"nats://x:1\"] }\nfailures_per_minute: 0\n",
         "failures_per_minute"},
        {"postgres: x\nnats: { urls: [\"nats://x:1\"] }\nbootstrap: short\n", "bootstrap"},
        {"postgres: x\nnats: { urls: [\"nats://x:1\"] }\nother: 1\n", "other"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *config = NULL;
        struct err err = {""};
        int rc = config_parse("a.yaml", rows[i].text, strlen(rows[i].text), &settings_schema,
                              &config, &err);
        if (rc != (rows[i].error == NULL ? 0 : -1))
            fail_msg("%zu: %s", i, err.msg);
        if (rows[i].error != NULL && strstr(err.msg, rows[i].error) == NULL)
            fail_msg("\"%s\" is not in \"%s\"", rows[i].error, err.msg);
        config_free(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bootstrap_keys),
        cmocka_unit_test(whole_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
