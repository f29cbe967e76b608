/* What payd's configuration makes of itself: endpoints without a limit of their own take the
 * chain's, and wrong ones say where they are wrong. */
#include "services/payd/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LEAST                                                                                      \
    "postgres: postgresql://localhost/octroi\nnats: { urls: [\"nats://localhost\"] }\n"            \
    "chain: { id: 4441, contract: \"0x00000000000000000000000000000000000000aa\", "

static int parse(const char *chain, struct config **out, struct err *err)
{
    AUTO_FREE char *text = mem_printf("%s%s }\n", LEAST, chain);
    return config_parse("test.yaml", text, strlen(text), &settings_schema, out, err);
}

static void timeouts(void **unused)
{
    (void)unused;

    static const struct {
        const char *chain;
        int64_t first, second;
    } rows[] = {
        {"rpc: [\"http://a\", \"http://b\"]", 5000, 5000},
        {"timeout: 7s, rpc: [\"http://a\", { url: \"http://b\", timeout: 50ms }]", 7000, 50},
        {"timeout: 7s, rpc: \"http://a,https://b\"", 7000, 7000},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *config = NULL;
        struct err err;
        if (parse(rows[i].chain, &config, &err) != 0)
            fail_msg("%zu: %s", i, err.msg);
        const struct settings *settings = config_root(config);
        const struct rpc_endpoint *endpoints = settings->chain.rpc.items;
        assert_int_equal(settings->chain.rpc.count, 2);
        assert_int_equal(endpoints[0].timeout_ms, rows[i].first);
        assert_int_equal(endpoints[1].timeout_ms, rows[i].second);
        config_free(&config);
    }
}

static void refused(void **unused)
{
    (void)unused;

    static const struct {
        const char *chain, *says;
    } rows[] = {
        {"rpc: [{ url: \"http://a\", timeout: 49ms }]", "chain.rpc[0]: timeout: less than 50ms"},
        {"rpc: [\"http://a\", \"ftp://b\"]", "chain.rpc[1]: url: must begin with http"},
        {"rpc: []", "chain.rpc"},
        {"timeout: 1ms, rpc: [\"http://a\"]", "timeout"},
        /* A transaction without a tip could never be replaced. */
        {"rpc: [\"http://a\"] }\nwallet: { max_priority_fee_per_gas: 0",
         "wallet.max_priority_fee_per_gas"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *config = NULL;
        struct err err = {{0}};
        assert_int_equal(parse(rows[i].chain, &config, &err), -1);
        if (strstr(err.msg, rows[i].says) == NULL)
            fail_msg("%zu: %s", i, err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timeouts),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
