/* The configuration from the environment: what each variable makes, and that what it cannot be is
 * refused with its name. */
#include "services/proxy/env_config.h"

#include "services/proxy/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define UP "REVERSE_PROXY_UPSTREAMS=http://127.0.0.1:1"

static int load(const char *const *environment, struct config **config, struct err *err)
{
    AUTO_BUF struct buf yaml = {0};

    union {
        const char *const *in;
        char *const *out;
    } copy = {.in = environment};

    *config = NULL;
    if (env_config_yaml(copy.out, &yaml, err))
        return -1;
    return config_parse("environment", yaml.data, yaml.len, &proxy_config_schema, config, err);
}

static void the_defaults(void **state)
{
    static const char *const environment[] = {
        "PATH=/bin", UP, "REVERSE_PROXY_MAX_IN_FLIGHT=", "REVERSE_PROXY_CONFIG_PATH=", NULL};
    struct config *config;
    struct err err;
    (void)state;
    if (load(environment, &config, &err))
        fail_msg("%s", err.msg);
    const struct proxy_config *root = config_root(config);
    const struct listener_config *listener = root->listeners.items;
    const struct pool_config *pool = root->pools.items;
    const struct route_config *routes = root->routes.items;
    assert_string_equal(listener->address, "0.0.0.0:8000");
    assert_string_equal(root->service.ops.address, "127.0.0.1:9480");
    assert_int_equal(root->limits.in_flight, 10000);
    assert_int_equal(root->timeouts.shutdown, 30000);
    assert_int_equal(root->trusted_proxies.count, 0);
    assert_string_equal(pool->key, "upstreams");
    assert_null(pool->health);
    assert_int_equal(pool->circuit_breaker.failures, 0);
    assert_int_equal(pool->retry.buffer, 65536);
    assert_int_equal(root->routes.count, 5);
    assert_string_equal(routes[0].pool, "upstreams");
    assert_string_equal(routes[1].path, "/healthz");
    assert_string_equal(routes[1].pool, "ops");
    config_free(&config);
}

static void every_variable_has_its_place(void **state)
{
    static const char *const environment[] = {
        "REVERSE_PROXY_UPSTREAMS= http://127.0.0.1:1 ,http://b.example:8443,,http://[::1]:7,",
        "REVERSE_PROXY_LISTEN=127.0.0.1:81",
        "REVERSE_PROXY_OPS_ADDRESS=127.0.0.1:82",
        "REVERSE_PROXY_CONNECT_TIMEOUT_MS=250",
        "REVERSE_PROXY_MAX_IN_FLIGHT=7",
        "REVERSE_PROXY_STREAM_LARGE_BODIES=off",
        "REVERSE_PROXY_STREAM_THRESHOLD_BYTES=99",
        "REVERSE_PROXY_HEALTHCHECK=/up?a='b'",
        "REVERSE_PROXY_HEALTHCHECK_INTERVAL_SECS=9",
        "REVERSE_PROXY_SHUTDOWN_GRACE_SECONDS=0",
        "REVERSE_PROXY_CIRCUIT_BREAKER=TRUE",
        "REVERSE_PROXY_CIRCUIT_BREAKER_FAILURE_THRESHOLD=3",
        "REVERSE_PROXY_CIRCUIT_BREAKER_OPEN_MS=1500",
        "REVERSE_PROXY_RETRY_BACKOFF_BASE_MS=1",
        "REVERSE_PROXY_RETRY_BACKOFF_MAX_MS=2",
        "REVERSE_PROXY_TRUSTED_PROXIES=10.0.0.0/8, 2001:db8::/32",
        "REVERSE_PROXY_METRICS_BEARER_TOKEN=aZ09-._~+/=",
        "REVERSE_PROXY_EXPOSE_DEBUG_HEADERS=1",
        NULL};
    struct config *config;
    struct err err;
    (void)state;
    if (load(environment, &config, &err))
        fail_msg("%s", err.msg);
    const struct proxy_config *root = config_root(config);
    const struct listener_config *listener = root->listeners.items;
    const struct pool_config *pool = root->pools.items;
    const struct backend_config *backends = pool->backends.items;
    const char *const *trusted = root->trusted_proxies.items;
    assert_string_equal(listener->address, "127.0.0.1:81");
    assert_string_equal(root->service.ops.address, "127.0.0.1:82");
    assert_string_equal(root->service.ops.metrics_bearer_token, "aZ09-._~+/=");
    assert_int_equal(root->limits.in_flight, 7);
    assert_int_equal(root->timeouts.shutdown, 0);
    assert_true(root->expose_debug_headers);
    assert_int_equal(root->trusted_proxies.count, 2);
    assert_string_equal(trusted[1], "2001:db8::/32");
    assert_int_equal(pool->backends.count, 3);
    assert_string_equal(backends[0].url, "http://127.0.0.1:1");
    assert_string_equal(backends[1].url, "http://b.example:8443");
    assert_string_equal(backends[2].url, "http://[::1]:7");
    assert_int_equal(pool->timeouts.connect, 250);
    assert_string_equal(pool->health->path, "/up?a='b'");
    assert_int_equal(pool->health->interval, 9000);
    assert_int_equal(pool->circuit_breaker.failures, 3);
    assert_int_equal(pool->circuit_breaker.open, 1500);
    assert_int_equal(pool->retry.base, 1);
    assert_int_equal(pool->retry.max, 2);
    assert_int_equal(pool->retry.buffer, 16 << 20);
    config_free(&config);
}

static void every_kind_of_origin_is_taken(void **state)
{
    char first[] = "REVERSE_PROXY_UPSTREAMS=https://b.example:8443,unix:/run/o.sock";
    char *const environment[] = {first, NULL};
    AUTO_BUF struct buf yaml = {0};
    struct err err;
    (void)state;
    assert_int_equal(env_config_yaml(environment, &yaml, &err), 0);
    assert_non_null(strstr(yaml.data, "['https://b.example:8443', 'unix:/run/o.sock']"));
}

static void what_cannot_be_names_its_variable(void **state)
{
    static const char *const cases[] = {
        "UPSTREAMS=",
        "UPSTREAMS= , ",
        "UPSTREAMS=127.0.0.1:1",
        "UPSTREAMS=http://",
        "UPSTREAMS=http://a:99999",
        "UPSTREAMS=http://a/path",
        "UPSTREAMS=http://user@a",
        "UPSTREAMS=http://a b",
        "UPSTREAMS=ftp://a",
        "LISTEN=8000",
        "LISTEN=0.0.0.0",
        "LISTEN=0.0.0.0:70000",
        "OPS_ADDRESS=a'b:1",
        "CONNECT_TIMEOUT_MS=0",
        "CONNECT_TIMEOUT_MS=1s",
        "CONNECT_TIMEOUT_MS=-1",
        "CONNECT_TIMEOUT_MS= 1000",
        "CONNECT_TIMEOUT_MS=99999999999999999999",
        "MAX_IN_FLIGHT=0",
        "MAX_IN_FLIGHT=many",
        "STREAM_LARGE_BODIES=2",
        "STREAM_THRESHOLD_BYTES=16777217",
        "STREAM_THRESHOLD_BYTES=64KiB",
        "HEALTHCHECK=maybe",
        "HEALTHCHECK=/a b",
        "HEALTHCHECK_INTERVAL_SECS=0",
        "SHUTDOWN_GRACE_SECONDS=1.5",
        "CIRCUIT_BREAKER=yess",
        "CIRCUIT_BREAKER_FAILURE_THRESHOLD=0",
        "CIRCUIT_BREAKER_OPEN_MS=1",
        "RETRY_BACKOFF_BASE_MS=2000",
        "RETRY_BACKOFF_MAX_MS=x",
        "TRUSTED_PROXIES=10.0.0.0/33",
        "TRUSTED_PROXIES=localhost",
        "METRICS_BEARER_TOKEN=a\nb",
        "METRICS_BEARER_TOKEN=${HOME}",
        "EXPOSE_DEBUG_HEADERS=ja",
        "UPSTREAM=http://a:1",
        "MAX_INFLIGHT=3",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *entry = mem_printf("REVERSE_PROXY_%s", cases[i]);
        bool upstreams = strncmp(cases[i], "UPSTREAMS=", 10) == 0;
        const char *const environment[] = {entry, upstreams ? NULL : UP, NULL};
        AUTO_FREE char *name = mem_strndup(entry, strcspn(entry, "="));
        struct config *config;
        struct err err = {{0}};
        if (load(environment, &config, &err) == 0)
            fail_msg("accepted: %s", entry);
        if (!strstr(err.msg, name))
            fail_msg("%s: %s", entry, err.msg);
    }
}

static void without_any_there_is_none(void **state)
{
    static const char *const environment[] = {"HOME=/", NULL};
    struct config *config;
    struct err err;
    (void)state;
    assert_int_equal(load(environment, &config, &err), -1);
    assert_non_null(strstr(err.msg, "REVERSE_PROXY_UPSTREAMS"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults),
        cmocka_unit_test(every_variable_has_its_place),
        cmocka_unit_test(every_kind_of_origin_is_taken),
        cmocka_unit_test(what_cannot_be_names_its_variable),
        cmocka_unit_test(without_any_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
