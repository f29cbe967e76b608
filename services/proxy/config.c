/* The table of the proxy's configuration, and the checks that a table cannot say. */
#include "services/proxy/config.h"

#include "services/proxy/billing.h"
#include "services/proxy/cidr.h"
#include "services/proxy/pool.h"
#include "services/proxy/route.h"

#include "libcommon/mem.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#define WORKERS_MAX 256

static const struct config_field listener_fields[] = {
    CONFIG_FIELD(struct listener_config, address, "address", CONFIG_STRING, .required = true,
                 .doc = "host:port to listen on"),
};
static const struct config_schema listener_schema = {.name = "listener",
                                                     .size = sizeof(struct listener_config),
                                                     .fields = listener_fields,
                                                     .count = ARRAY_LEN(listener_fields),
                                                     .scalar_field = "address"};

#define LIMIT(member, low, high, def, text)                                                        \
    CONFIG_FIELD(struct limits_config, member, #member, CONFIG_INT, .fallback = (def),             \
                 .min = (low), .max = (high), .doc = (text))
#define LIMIT_SIZE(member, low, high, def, text)                                                   \
    CONFIG_FIELD(struct limits_config, member, #member, CONFIG_SIZE, .fallback = (def),            \
                 .min = (low), .max = (high), .doc = (text))
static const struct config_field limits_fields[] = {
    LIMIT(connections, 1, 1000000, "50000", "client connections at a time; more are refused"),
    LIMIT(in_flight, 1, 1000000, "10000", "requests at a time; more are refused"),
    LIMIT_SIZE(header_bytes, 1024, 256 * 1024, "32KiB", "a message's head"),
    LIMIT(headers, 8, 1000, "100", "header lines of a message"),
    LIMIT_SIZE(uri_bytes, 64, 64 * 1024, "8KiB", "a request's target"),
    LIMIT_SIZE(body_bytes, 0, INT64_MAX, "0", "a request's body; 0: no limit"),
};
static const struct config_schema limits_schema = {.name = "limits",
                                                   .size = sizeof(struct limits_config),
                                                   .fields = limits_fields,
                                                   .count = ARRAY_LEN(limits_fields)};

#define TIMEOUT(type, member, low, def, text)                                                      \
    CONFIG_FIELD(type, member, #member, CONFIG_DURATION, .fallback = (def), .min = (low),          \
                 .max = 24LL * 3600 * 1000, .doc = (text))
static const struct config_field timeouts_fields[] = {
    TIMEOUT(struct timeouts_config, request_head, 10, "10s", "for a request's head to arrive"),
    TIMEOUT(struct timeouts_config, request_body_idle, 10, "30s",
            "between two pieces of a request's body"),
    TIMEOUT(struct timeouts_config, response_write_idle, 10, "30s",
            "for a client to take a piece of the response"),
    TIMEOUT(struct timeouts_config, keepalive_idle, 10, "60s", "between two requests"),
    TIMEOUT(struct timeouts_config, drain_delay, 0, "5s",
            "/readyz answers 503 this long before the listeners close"),
    TIMEOUT(struct timeouts_config, shutdown, 0, "30s", "for requests in flight to finish"),
};
static const struct config_schema timeouts_schema = {.name = "timeouts",
                                                     .size = sizeof(struct timeouts_config),
                                                     .fields = timeouts_fields,
                                                     .count = ARRAY_LEN(timeouts_fields)};

static const struct config_field access_log_fields[] = {
    CONFIG_FIELD(struct access_log_config, sample, "sample", CONFIG_FLOAT, .fallback = "1.0",
                 .min = 0, .max = 1, .doc = "share of requests that are logged"),
};
static const struct config_schema access_log_schema = {.name = "access_log",
                                                       .size = sizeof(struct access_log_config),
                                                       .fields = access_log_fields,
                                                       .count = ARRAY_LEN(access_log_fields)};

static const struct config_field backend_fields[] = {
    CONFIG_FIELD(struct backend_config, url, "url", CONFIG_STRING, .required = true,
                 .doc = "http://host:port of the origin"),
    CONFIG_FIELD(struct backend_config, weight, "weight", CONFIG_INT, .fallback = "1", .min = 1,
                 .max = 1000, .doc = "share among the pool's backends"),
    CONFIG_FIELD(struct backend_config, max_connections, "max_connections", CONFIG_INT,
                 .fallback = "0", .min = 0, .max = 1000000,
                 .doc = "requests at a time over all threads; 0: no limit"),
};
static const struct config_schema backend_schema = {.name = "backend",
                                                    .size = sizeof(struct backend_config),
                                                    .fields = backend_fields,
                                                    .count = ARRAY_LEN(backend_fields),
                                                    .scalar_field = "url"};

static const struct config_field pool_timeouts_fields[] = {
    TIMEOUT(struct pool_timeouts_config, connect, 10, "1s", "for a connection to be established"),
    TIMEOUT(struct pool_timeouts_config, response_head, 10, "30s",
            "from the last of the request to the response's head"),
    TIMEOUT(struct pool_timeouts_config, body_idle, 10, "30s",
            "between two pieces of a response's body"),
    TIMEOUT(struct pool_timeouts_config, keepalive_idle, 10, "4s",
            "how long an unused connection is kept; an origin's Keep-Alive can shorten it"),
};
static const struct config_schema pool_timeouts_schema = {.name = "pool timeouts",
                                                          .size =
                                                              sizeof(struct pool_timeouts_config),
                                                          .fields = pool_timeouts_fields,
                                                          .count = ARRAY_LEN(pool_timeouts_fields)};

static const char *const balance_words[] = {"round_robin", "least_connections", NULL};
static const struct config_field pool_fields[] = {
    CONFIG_FIELD(struct pool_config, balance, "balance", CONFIG_ENUM, .fallback = "round_robin",
                 .words = balance_words, .doc = "how a backend is chosen"),
    CONFIG_FIELD(struct pool_config, backends, "backends", CONFIG_LIST, .required = true, .min = 1,
                 .max = 1000, .section = &backend_schema, .doc = "origins"),
    CONFIG_FIELD(struct pool_config, max_idle, "max_idle", CONFIG_INT, .fallback = "256", .min = 0,
                 .max = 10000, .doc = "unused connections kept for each backend and thread"),
    CONFIG_FIELD(struct pool_config, timeouts, "timeouts", CONFIG_SECTION,
                 .section = &pool_timeouts_schema, .doc = "how long origins may take"),
};
static const struct config_schema pool_schema = {.name = "pool",
                                                 .size = sizeof(struct pool_config),
                                                 .fields = pool_fields,
                                                 .count = ARRAY_LEN(pool_fields)};

static const struct config_field route_limits_fields[] = {
    CONFIG_FIELD(struct route_limits_config, body_bytes, "body_bytes", CONFIG_SIZE,
                 .required = true, .min = 0, .max = INT64_MAX,
                 .doc = "a request's body; 0: no limit"),
};

static const struct config_schema route_limits_schema = {.name = "route limits",
                                                         .size = sizeof(struct route_limits_config),
                                                         .fields = route_limits_fields,
                                                         .count = ARRAY_LEN(route_limits_fields)};

static int redirect_check(void *section, struct err *err)
{
    const struct redirect_config *redirect = section;
    switch (redirect->status) {
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
        break;
    default:
        return err_set(err, "redirect.status is 301, 302, 303, 307 or 308");
    }
    for (const char *c = redirect->to; *c; c++)
        if (*c <= 0x20 || *c >= 0x7f)
            return err_set(err, "redirect.to holds a blank or a control character");
    return 0;
}

static const struct config_field redirect_fields[] = {
    CONFIG_FIELD(struct redirect_config, to, "to", CONFIG_STRING, .required = true,
                 .doc = "where to; without a path of its own the request's is appended"),
    CONFIG_FIELD(struct redirect_config, status, "status", CONFIG_INT, .fallback = "301",
                 .min = 301, .max = 308, .doc = "301, 302, 303, 307 or 308"),
};
static const struct config_schema redirect_schema = {.name = "redirect",
                                                     .size = sizeof(struct redirect_config),
                                                     .fields = redirect_fields,
                                                     .count = ARRAY_LEN(redirect_fields),
                                                     .check = redirect_check};

static int route_check(void *section, struct err *err)
{
    const struct route_config *route = section;
    bool sold = route->access == ROUTE_SUBSCRIPTION;
    if (route->path[0] != '/')
        return err_set(err, "route.path begins with a slash");
    if ((route->pool[0] == '\0') == (route->redirect == NULL))
        return err_set(err, "a route has either a pool or a redirect");
    if (sold != (route->service[0] != '\0'))
        return err_set(err, "route.service belongs to access: subscription, and only there");
    return 0;
}

static const char *const access_words[] = {"public", "subscription", NULL};
static const struct config_field route_fields[] = {
    CONFIG_FIELD(struct route_config, host, "host", CONFIG_STRING, .fallback = "",
                 .doc = "api.example.com, *.example.com, or empty for any"),
    CONFIG_FIELD(struct route_config, path, "path", CONFIG_STRING, .fallback = "/",
                 .doc = "prefix, at a segment boundary"),
    CONFIG_FIELD(struct route_config, pool, "pool", CONFIG_STRING, .fallback = "",
                 .doc = "where requests go"),
    CONFIG_FIELD(struct route_config, access, "access", CONFIG_ENUM, .fallback = "public",
                 .words = access_words, .doc = "who may use it"),
    CONFIG_FIELD(struct route_config, service, "service", CONFIG_STRING, .fallback = "",
                 .doc = "name of the service that is sold here"),
    CONFIG_FIELD(struct route_config, strip_prefix, "strip_prefix", CONFIG_BOOL,
                 .fallback = "false", .doc = "the origin sees the path without the prefix"),
    CONFIG_FIELD(struct route_config, host_rewrite, "host_rewrite", CONFIG_BOOL,
                 .fallback = "false", .doc = "the origin sees its own address as Host"),
    CONFIG_FIELD(struct route_config, limits, "limits", CONFIG_OPTIONAL,
                 .section = &route_limits_schema, .doc = "instead of the general limits"),
    CONFIG_FIELD(struct route_config, redirect, "redirect", CONFIG_OPTIONAL,
                 .section = &redirect_schema, .doc = "answer with a redirection"),
};
static const struct config_schema route_schema = {.name = "route",
                                                  .size = sizeof(struct route_config),
                                                  .fields = route_fields,
                                                  .count = ARRAY_LEN(route_fields),
                                                  .check = route_check};

/* Builds what is made of the configuration, and throws it away: -t finds what start would. */
static int try_out(const struct proxy_config *config, struct err *err)
{
    struct cidr_list trusted;
    struct pool_set *pools = NULL;
    struct route_table *routes = NULL;
    if (cidr_list_new(&config->trusted_proxies, &trusted, err))
        return -1;
    cidr_list_free(&trusted);
    int result = pool_set_new(config, &pools, err) || route_table_new(config, pools, &routes, err);
    route_table_free(&routes);
    pool_set_free(&pools);
    return result ? -1 : 0;
}

static int root_check(void *section, struct err *err)
{
    struct proxy_config *config = section;
    const struct route_config *routes = config->routes.items;
    unsigned workers;
    config->service.drain_delay_ms = config->timeouts.drain_delay;
    config->service.shutdown_ms = config->timeouts.shutdown;
    for (size_t i = 0; i < config->routes.count; i++)
        if (routes[i].access == ROUTE_SUBSCRIPTION && !config->billing)
            return err_set(
                err, "route %zu has access: subscription, but there is no billing section", i + 1);
    if (config_worker_count(config, &workers, err))
        return -1;
    return try_out(config, err);
}

static const struct config_field root_fields[] = {
    SERVICE_CONFIG_FIELDS(struct proxy_config, service, "127.0.0.1:9480"),
    CONFIG_FIELD(struct proxy_config, listeners, "listeners", CONFIG_LIST, .required = true,
                 .min = 1, .max = 64, .section = &listener_schema, .doc = "where clients connect"),
    CONFIG_FIELD(struct proxy_config, workers, "workers", CONFIG_STRING, .fallback = "auto",
                 .doc = "threads: a number, or auto for as many as there are CPUs to use"),
    CONFIG_FIELD(struct proxy_config, limits, "limits", CONFIG_SECTION, .section = &limits_schema,
                 .doc = "bounds on what clients may ask for"),
    CONFIG_FIELD(struct proxy_config, timeouts, "timeouts", CONFIG_SECTION,
                 .section = &timeouts_schema, .doc = "how long clients may take"),
    CONFIG_FIELD(struct proxy_config, trusted_proxies, "trusted_proxies", CONFIG_STRINGS,
                 .max = 1000, .doc = "networks (CIDR) whose forwarded headers are believed"),
    CONFIG_FIELD(struct proxy_config, access_log, "access_log", CONFIG_SECTION,
                 .section = &access_log_schema, .doc = "one line a request"),
    CONFIG_FIELD(struct proxy_config, pools, "pools", CONFIG_MAP, .section = &pool_schema,
                 .doc = "origins by name"),
    CONFIG_FIELD(struct proxy_config, routes, "routes", CONFIG_LIST, .required = true, .min = 1,
                 .max = 100000, .section = &route_schema, .doc = "what goes where"),
    CONFIG_FIELD(struct proxy_config, billing, "billing", CONFIG_OPTIONAL,
                 .section = &billing_config_schema,
                 .doc = "selling: needed by access: subscription"),
};
const struct config_schema proxy_config_schema = {.name = "proxy",
                                                  .size = sizeof(struct proxy_config),
                                                  .fields = root_fields,
                                                  .count = ARRAY_LEN(root_fields),
                                                  .check = root_check};

/* CPUs that the cgroup's quota allows, rounded up; 0: no quota. */
static unsigned quota_cpus(void)
{
    long long quota, period;
    unsigned cpus = 0;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0)
        cpus = (unsigned)((quota + period - 1) / period);
    fclose(file);
    return cpus;
}

static unsigned usable_cpus(void)
{
    cpu_set_t set;
    unsigned cpus = sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    unsigned quota = quota_cpus();
    if (quota && quota < cpus)
        cpus = quota;
    return cpus < WORKERS_MAX ? cpus : WORKERS_MAX;
}

int config_worker_count(const struct proxy_config *config, unsigned *out, struct err *err)
{
    if (strcmp(config->workers, "auto") == 0) {
        *out = usable_cpus();
        return 0;
    }
    char *end;
    unsigned long count = strtoul(config->workers, &end, 10);
    if (*end || config->workers[0] < '0' || config->workers[0] > '9' || count < 1 ||
        count > WORKERS_MAX)
        return err_set(err, "workers is auto or a number from 1 to %d", WORKERS_MAX);
    *out = (unsigned)count;
    return 0;
}
