/* The table of pools, and the checks that a table cannot say. */
#include "services/proxy/config.h"

#include "libcommon/mem.h"

#include <stdio.h>
#include <string.h>

static const struct config_field backend_tls_fields[] = {
    CONFIG_FIELD(struct backend_tls_config, ca, "ca", CONFIG_STRING, .fallback = "",
                 .doc = "PEM file of the authorities that are believed; empty: the system's"),
    CONFIG_FIELD(struct backend_tls_config, server_name, "server_name", CONFIG_STRING,
                 .fallback = "", .max = 253,
                 .doc = "name that the certificate must carry; empty: the host of the url"),
    CONFIG_FIELD(struct backend_tls_config, certificate, "certificate", CONFIG_STRING,
                 .fallback = "", .doc = "PEM file of our own certificate; empty: none"),
    CONFIG_FIELD(struct backend_tls_config, key, "key", CONFIG_STRING, .fallback = "",
                 .doc = "PEM file of its key"),
};

static int backend_tls_check(void *section, struct err *err)
{
    const struct backend_tls_config *tls = section;
    if ((tls->certificate[0] == '\0') != (tls->key[0] == '\0'))
        return err_set(err, "certificate and key belong together");
    return 0;
}

static const struct config_schema backend_tls_schema = {.name = "backend tls",
                                                        .size = sizeof(struct backend_tls_config),
                                                        .fields = backend_tls_fields,
                                                        .count = ARRAY_LEN(backend_tls_fields),
                                                        .check = backend_tls_check};

static const struct config_field backend_fields[] = {
    CONFIG_FIELD(struct backend_config, url, "url", CONFIG_STRING, .required = true,
                 .doc = "http://host:port, https://host:port, or unix:/path of the origin"),
    CONFIG_FIELD(struct backend_config, weight, "weight", CONFIG_INT, .fallback = "1", .min = 1,
                 .max = 1000, .doc = "share among the pool's backends"),
    CONFIG_FIELD(struct backend_config, max_connections, "max_connections", CONFIG_INT,
                 .fallback = "0", .min = 0, .max = 1000000,
                 .doc = "requests at a time over all threads; 0: no limit"),
    CONFIG_FIELD(struct backend_config, tls, "tls", CONFIG_OPTIONAL, .section = &backend_tls_schema,
                 .doc = "of an https:// backend"),
};

static int backend_check(void *section, struct err *err)
{
    const struct backend_config *backend = section;
    if (backend->tls && strncmp(backend->url, "https://", 8) != 0)
        return err_set(err, "tls belongs to a backend whose url begins with https://");
    return 0;
}

static const struct config_schema backend_schema = {.name = "backend",
                                                    .size = sizeof(struct backend_config),
                                                    .fields = backend_fields,
                                                    .count = ARRAY_LEN(backend_fields),
                                                    .scalar_field = "url",
                                                    .check = backend_check};

static const char *const health_types[] = {"http", "tcp", NULL};
static const struct config_field health_fields[] = {
    CONFIG_FIELD(struct health_config, type, "type", CONFIG_ENUM, .fallback = "http",
                 .words = health_types, .doc = "an HTTP request, or only a connection"),
    CONFIG_FIELD(struct health_config, method, "method", CONFIG_STRING, .fallback = "GET",
                 .max = 16, .doc = "of the request"),
    CONFIG_FIELD(struct health_config, path, "path", CONFIG_STRING, .fallback = "/", .max = 2048,
                 .doc = "of the request, with query"),
    CONFIG_FIELD(struct health_config, host, "host", CONFIG_STRING, .fallback = "", .max = 253,
                 .doc = "Host of the request; empty: the backend's"),
    CONFIG_FIELD(struct health_config, port, "port", CONFIG_INT, .fallback = "0", .min = 0,
                 .max = 65535, .doc = "where it is asked; 0: the backend's port"),
    CONFIG_TIMEOUT(struct health_config, interval, 100, "5s", "between two checks of a backend"),
    CONFIG_TIMEOUT(struct health_config, timeout, 10, "1s", "for a check to succeed"),
    CONFIG_FIELD(struct health_config, rise, "rise", CONFIG_INT, .fallback = "2", .min = 1,
                 .max = 1000, .doc = "good checks in a row until a backend is up again"),
    CONFIG_FIELD(struct health_config, fall, "fall", CONFIG_INT, .fallback = "3", .min = 1,
                 .max = 1000, .doc = "bad checks in a row until it is down"),
    CONFIG_FIELD(struct health_config, expect, "expect", CONFIG_STRING, .fallback = "200-399",
                 .doc = "status, or range of them, of a good answer"),
};

static bool token(const char *text)
{
    for (const char *c = text; *c; c++)
        if ((*c < 'A' || *c > 'Z') && (*c < 'a' || *c > 'z'))
            return false;
    return *text;
}

static bool printable(const char *text)
{
    for (const char *c = text; *c; c++)
        if (*c <= 0x20 || *c >= 0x7f)
            return false;
    return true;
}

static int health_check(void *section, struct err *err)
{
    struct health_config *health = section;
    char rest;
    int n = sscanf(health->expect, "%3u-%3u%c", &health->expect_low, &health->expect_high, &rest);
    if (n == 1 && !strpbrk(health->expect, "-"))
        health->expect_high = health->expect_low;
    else if (n != 2)
        return err_set(err, "health.expect is a status or a range, as 200-399");
    if (health->expect_low < 100 || health->expect_high > 599 ||
        health->expect_low > health->expect_high)
        return err_set(err, "health.expect lies between 100 and 599");
    if (health->path[0] != '/' || !printable(health->path))
        return err_set(err, "health.path begins with a slash and holds no blanks");
    if (!token(health->method) || !printable(health->host))
        return err_set(err, "health.method or health.host is malformed");
    if (health->timeout > health->interval)
        return err_set(err, "health.timeout is longer than health.interval");
    return 0;
}

static const struct config_schema health_schema = {.name = "health",
                                                   .size = sizeof(struct health_config),
                                                   .fields = health_fields,
                                                   .count = ARRAY_LEN(health_fields),
                                                   .check = health_check};

static const struct config_field passive_fields[] = {
    CONFIG_FIELD(struct passive_config, failures, "failures", CONFIG_INT, .fallback = "5", .min = 0,
                 .max = 100000, .doc = "failed requests within the window; 0: off"),
    CONFIG_TIMEOUT(struct passive_config, window, 100, "10s", "in which failures are counted"),
    CONFIG_TIMEOUT(struct passive_config, eject, 100, "10s",
                   "how long a failing backend is left out; longer each time it fails again"),
    CONFIG_FIELD(struct passive_config, max_ejected, "max_ejected", CONFIG_PERCENT,
                 .fallback = "50%", .doc = "share of the pool that may be left out at a time"),
};
static const struct config_schema passive_schema = {.name = "passive",
                                                    .size = sizeof(struct passive_config),
                                                    .fields = passive_fields,
                                                    .count = ARRAY_LEN(passive_fields)};

static const struct config_field breaker_fields[] = {
    CONFIG_FIELD(struct breaker_config, failures, "failures", CONFIG_INT, .fallback = "0", .min = 0,
                 .max = 100000, .doc = "failures in a row until a backend's circuit opens; 0: off"),
    CONFIG_TIMEOUT(struct breaker_config, open, 10, "10s", "until it is tried again"),
    CONFIG_FIELD(struct breaker_config, half_open_requests, "half_open_requests", CONFIG_INT,
                 .fallback = "1", .min = 1, .max = 1000, .doc = "requests of that trial"),
};
static const struct config_schema breaker_schema = {.name = "circuit_breaker",
                                                    .size = sizeof(struct breaker_config),
                                                    .fields = breaker_fields,
                                                    .count = ARRAY_LEN(breaker_fields)};

static const struct config_field retry_fields[] = {
    CONFIG_FIELD(struct retry_config, attempts, "attempts", CONFIG_INT, .fallback = "2", .min = 1,
                 .max = 10,
                 .doc = "how often a request is tried in all; a connection that cannot be made is "
                        "no try. 1: nothing that was sent is sent again. From 2 on, one repeat is "
                        "not counted: where a kept connection was closed as the request went out"),
    CONFIG_FIELD(struct retry_config, budget, "budget", CONFIG_PERCENT, .fallback = "20%",
                 .doc = "retries as a share of the pool's requests"),
    CONFIG_TIMEOUT(struct retry_config, base, 0, "25ms",
                   "wait before the first retry; doubled for each further one, with jitter"),
    CONFIG_TIMEOUT(struct retry_config, max, 0, "1s", "the longest such wait"),
    CONFIG_FIELD(struct retry_config, buffer, "buffer", CONFIG_SIZE, .fallback = "64KiB", .min = 0,
                 .max = 16 << 20, .doc = "a body up to this size is kept for a retry"),
};
static const struct config_schema retry_schema = {.name = "retry",
                                                  .size = sizeof(struct retry_config),
                                                  .fields = retry_fields,
                                                  .count = ARRAY_LEN(retry_fields)};

static const struct config_field queue_fields[] = {
    CONFIG_FIELD(struct queue_config, size, "size", CONFIG_INT, .fallback = "0", .min = 0,
                 .max = 100000, .doc = "requests that may wait for a place; 0: none"),
    CONFIG_TIMEOUT(struct queue_config, timeout, 1, "1s", "how long they wait"),
};
static const struct config_schema queue_schema = {.name = "queue",
                                                  .size = sizeof(struct queue_config),
                                                  .fields = queue_fields,
                                                  .count = ARRAY_LEN(queue_fields)};

static const struct config_field pool_timeouts_fields[] = {
    CONFIG_TIMEOUT(struct pool_timeouts_config, connect, 10, "1s",
                   "for a connection to be established, TLS included"),
    CONFIG_TIMEOUT(struct pool_timeouts_config, response_head, 10, "30s",
                   "from the last of the request to the response's head"),
    CONFIG_TIMEOUT(struct pool_timeouts_config, body_idle, 10, "30s",
                   "between two pieces of a response's body"),
    CONFIG_TIMEOUT(struct pool_timeouts_config, keepalive_idle, 10, "4s",
                   "how long an unused connection is kept; an origin's Keep-Alive can shorten it"),
};
static const struct config_schema pool_timeouts_schema = {.name = "pool timeouts",
                                                          .size =
                                                              sizeof(struct pool_timeouts_config),
                                                          .fields = pool_timeouts_fields,
                                                          .count = ARRAY_LEN(pool_timeouts_fields)};

static const char *const balance_words[] = {"round_robin", "least_connections", "ip_hash",
                                            "random_two", NULL};
static const char *const send_proxy_words[] = {"off", "v1", "v2", NULL};
static const struct config_field pool_fields[] = {
    CONFIG_FIELD(struct pool_config, balance, "balance", CONFIG_ENUM, .fallback = "round_robin",
                 .words = balance_words, .doc = "how a backend is chosen"),
    CONFIG_FIELD(struct pool_config, backends, "backends", CONFIG_LIST, .required = true, .min = 1,
                 .max = 1000, .section = &backend_schema, .doc = "origins"),
    CONFIG_FIELD(struct pool_config, health, "health", CONFIG_OPTIONAL, .section = &health_schema,
                 .doc = "asks backends whether they are well"),
    CONFIG_FIELD(struct pool_config, passive, "passive", CONFIG_SECTION, .section = &passive_schema,
                 .doc = "leaves out backends whose requests fail"),
    CONFIG_FIELD(struct pool_config, circuit_breaker, "circuit_breaker", CONFIG_SECTION,
                 .section = &breaker_schema, .doc = "stops asking a backend that only fails"),
    CONFIG_FIELD(struct pool_config, retry, "retry", CONFIG_SECTION, .section = &retry_schema,
                 .doc = "when a request is tried again"),
    CONFIG_FIELD(struct pool_config, timeouts, "timeouts", CONFIG_SECTION,
                 .section = &pool_timeouts_schema, .doc = "how long origins may take"),
    CONFIG_TIMEOUT(struct pool_config, slow_start, 0, "0s",
                   "over which a recovered backend gets its full share again"),
    CONFIG_FIELD(struct pool_config, max_in_flight, "max_in_flight", CONFIG_INT, .fallback = "0",
                 .min = 0, .max = 1000000, .doc = "requests at a time; 0: no limit"),
    CONFIG_FIELD(struct pool_config, queue, "queue", CONFIG_SECTION, .section = &queue_schema,
                 .doc = "where requests wait when the pool is full"),
    CONFIG_FIELD(struct pool_config, max_idle, "max_idle", CONFIG_INT, .fallback = "256", .min = 0,
                 .max = 10000, .doc = "unused connections kept for each backend and thread"),
    CONFIG_TIMEOUT(struct pool_config, resolve, 100, "1s",
                   "between two lookups of the names of backends"),
    CONFIG_FIELD(struct pool_config, send_proxy, "send_proxy", CONFIG_ENUM, .fallback = "off",
                 .words = send_proxy_words,
                 .doc = "tells backends the client's address by the PROXY protocol"),
};
const struct config_schema pool_config_schema = {.name = "pool",
                                                 .size = sizeof(struct pool_config),
                                                 .fields = pool_fields,
                                                 .count = ARRAY_LEN(pool_fields)};
