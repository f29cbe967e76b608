/* The table of the proxy's configuration, and the checks that a table cannot say. */
#include "services/proxy/config.h"

#include "services/proxy/billing.h"
#include "services/proxy/generation.h"
#include "services/proxy/registry.h"
#include "services/proxy/route.h"

#include "libcommon/mem.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#define WORKERS_MAX 256
#define MEMORY_MIN  (16LL << 20)

static const struct config_field certificate_fields[] = {
    CONFIG_FIELD(struct certificate_config, certificate, "certificate", CONFIG_STRING,
                 .required = true, .doc = "PEM file, with the chain"),
    CONFIG_FIELD(struct certificate_config, key, "key", CONFIG_STRING, .required = true,
                 .doc = "PEM file of its key"),
};
static const struct config_schema certificate_schema = {.name = "certificate",
                                                        .size = sizeof(struct certificate_config),
                                                        .fields = certificate_fields,
                                                        .count = ARRAY_LEN(certificate_fields)};

static int listener_tls_check(void *section, struct err *err)
{
    const struct listener_tls_config *tls = section;
    if ((tls->certificate[0] == '\0') != (tls->key[0] == '\0'))
        return err_set(err, "certificate and key belong together");
    if (tls->certificate[0] == '\0' && tls->certificates.count == 0)
        return err_set(err, "tls needs a certificate");
    if ((tls->client_auth != CLIENT_AUTH_NONE) != (tls->client_ca[0] != '\0'))
        return err_set(err, "client_ca and client_auth belong together");
    return 0;
}

static const char *const tls_versions[] = {"1.2", "1.3", NULL};
static const char *const client_auths[] = {"none", "optional", "required", NULL};
static const struct config_field listener_tls_fields[] = {
    CONFIG_FIELD(struct listener_tls_config, certificate, "certificate", CONFIG_STRING,
                 .fallback = "", .doc = "PEM file, with the chain; for names that no other has"),
    CONFIG_FIELD(struct listener_tls_config, key, "key", CONFIG_STRING, .fallback = "",
                 .doc = "PEM file of its key"),
    CONFIG_FIELD(struct listener_tls_config, certificates, "certificates", CONFIG_LIST, .max = 1000,
                 .section = &certificate_schema,
                 .doc = "more certificates, chosen by the names that they carry (SNI)"),
    CONFIG_FIELD(struct listener_tls_config, min_version, "min_version", CONFIG_ENUM,
                 .fallback = "1.2", .words = tls_versions, .doc = "the oldest that is spoken"),
    CONFIG_FIELD(struct listener_tls_config, client_ca, "client_ca", CONFIG_STRING, .fallback = "",
                 .doc = "PEM file of the authorities of clients' certificates"),
    CONFIG_FIELD(struct listener_tls_config, client_auth, "client_auth", CONFIG_ENUM,
                 .fallback = "none", .words = client_auths,
                 .doc = "whether clients show a certificate"),
};
static const struct config_schema listener_tls_schema = {.name = "listener tls",
                                                         .size = sizeof(struct listener_tls_config),
                                                         .fields = listener_tls_fields,
                                                         .count = ARRAY_LEN(listener_tls_fields),
                                                         .check = listener_tls_check};

static int listener_check(void *section, struct err *err)
{
    const struct listener_config *listener = section;
    if ((listener->mode == LISTENER_TCP) != (listener->pool[0] != '\0'))
        return err_set(err, "pool belongs to mode: tcp, and only there");
    return 0;
}

static const char *const listener_modes[] = {"http", "tcp", NULL};
static const char *const proxy_protocols[] = {"off", "required", NULL};
static const struct config_field listener_fields[] = {
    CONFIG_FIELD(struct listener_config, address, "address", CONFIG_STRING, .required = true,
                 .min = 1, .max = 300, .doc = "host:port, [address]:port or unix:/path"),
    CONFIG_FIELD(struct listener_config, mode, "mode", CONFIG_ENUM, .fallback = "http",
                 .words = listener_modes, .doc = "http, or tcp: bytes to a pool as they come"),
    CONFIG_FIELD(struct listener_config, pool, "pool", CONFIG_STRING, .fallback = "",
                 .doc = "where mode: tcp leads"),
    CONFIG_FIELD(struct listener_config, proxy_protocol, "proxy_protocol", CONFIG_ENUM,
                 .fallback = "off", .words = proxy_protocols,
                 .doc = "connections begin with the PROXY protocol, version 1 or 2"),
    CONFIG_FIELD(struct listener_config, tls, "tls", CONFIG_OPTIONAL,
                 .section = &listener_tls_schema, .doc = "speak TLS"),
};
static const struct config_schema listener_schema = {.name = "listener",
                                                     .size = sizeof(struct listener_config),
                                                     .fields = listener_fields,
                                                     .count = ARRAY_LEN(listener_fields),
                                                     .scalar_field = "address",
                                                     .check = listener_check};

#define LIMIT(member, low, high, def, text)                                                        \
    CONFIG_FIELD(struct limits_config, member, #member, CONFIG_INT, .fallback = (def),             \
                 .min = (low), .max = (high), .doc = (text))
#define LIMIT_SIZE(member, low, high, def, text)                                                   \
    CONFIG_FIELD(struct limits_config, member, #member, CONFIG_SIZE, .fallback = (def),            \
                 .min = (low), .max = (high), .doc = (text))
static const struct config_field limits_fields[] = {
    LIMIT(connections, 1, 1000000, "50000", "client connections at a time; more are refused"),
    LIMIT(connections_per_ip, 0, 1000000, "0",
          "of one client address (IPv6: /64); more are refused; 0: no limit"),
    LIMIT(in_flight, 1, 1000000, "10000", "requests at a time; more are refused"),
    LIMIT_SIZE(header_bytes, 1024, 256 * 1024, "32KiB", "a message's head"),
    LIMIT(headers, 8, 1000, "100", "header lines of a message"),
    LIMIT_SIZE(uri_bytes, 64, 64 * 1024, "8KiB", "a request's target"),
    LIMIT_SIZE(body_bytes, 0, INT64_MAX, "0", "a request's body; 0: no limit"),
    CONFIG_FIELD(struct limits_config, rate_per_ip, "rate_per_ip", CONFIG_RATE, .fallback = "0",
                 .max = 1000000, .doc = "requests of one client address (IPv6: /64); 0: no limit"),
    LIMIT(burst_per_ip, 0, 1000000, "0", "how many of them at once; 0: a second's worth"),
    LIMIT_SIZE(
        min_rate, 0, 1 << 20, "64",
        "bytes a second that a client has to send of a body, or take of an answer, while the "
        "other side waits; 0: no limit"),
    LIMIT_SIZE(memory, 0, INT64_MAX, "0",
               "resident memory of the process, at least 16MiB: from 90 % of it on requests are "
               "refused, from 95 % connections; 0: the machine's. A limit of the cgroup counts "
               "besides"),
};

static int limits_check(void *section, struct err *err)
{
    const struct limits_config *limits = section;
    if (limits->memory && limits->memory < MEMORY_MIN)
        return err_set(err, "memory is 0 or at least 16MiB");
    return 0;
}

static const struct config_schema limits_schema = {.name = "limits",
                                                   .size = sizeof(struct limits_config),
                                                   .fields = limits_fields,
                                                   .count = ARRAY_LEN(limits_fields),
                                                   .check = limits_check};

static const struct config_field timeouts_fields[] = {
    CONFIG_TIMEOUT(struct timeouts_config, tls_handshake, 10, "10s", "for a TLS handshake"),
    CONFIG_TIMEOUT(struct timeouts_config, request_head, 10, "10s",
                   "for a request's head to arrive"),
    CONFIG_TIMEOUT(struct timeouts_config, request_body_idle, 10, "30s",
                   "between two pieces of a request's body"),
    CONFIG_TIMEOUT(struct timeouts_config, response_write_idle, 10, "30s",
                   "for a client to take a piece of the response"),
    CONFIG_TIMEOUT(struct timeouts_config, keepalive_idle, 10, "60s", "between two requests"),
    CONFIG_TIMEOUT(struct timeouts_config, tunnel_idle, 10, "1h",
                   "a WebSocket, TCP tunnel or event stream on which nothing passes"),
    CONFIG_TIMEOUT(struct timeouts_config, request, 0, "0s",
                   "for a whole exchange but tunnels and event streams; 0s: no limit"),
    CONFIG_TIMEOUT(struct timeouts_config, drain_delay, 0, "5s",
                   "/readyz answers 503 this long before the listeners close"),
    CONFIG_TIMEOUT(struct timeouts_config, shutdown, 0, "30s", "for requests in flight to finish"),
    CONFIG_TIMEOUT(struct timeouts_config, upgrade, 100, "60s",
                   "for a new binary (USR2) to become ready; the old one goes on where it is not"),
};
static const struct config_schema timeouts_schema = {.name = "timeouts",
                                                     .size = sizeof(struct timeouts_config),
                                                     .fields = timeouts_fields,
                                                     .count = ARRAY_LEN(timeouts_fields)};

static const char *const access_log_formats[] = {"json", "combined", NULL};
static const struct config_field access_log_fields[] = {
    CONFIG_FIELD(struct access_log_config, path, "path", CONFIG_STRING, .fallback = "-", .min = 1,
                 .max = 4096, .doc = "a file, or - for standard error with the other lines"),
    CONFIG_FIELD(struct access_log_config, format, "format", CONFIG_ENUM, .fallback = "json",
                 .words = access_log_formats, .doc = "json, or combined as web servers write it"),
    CONFIG_FIELD(struct access_log_config, sample, "sample", CONFIG_FLOAT, .fallback = "1.0",
                 .min = 0, .max = 1, .doc = "share of requests that are logged"),
};
static const struct config_schema access_log_schema = {.name = "access_log",
                                                       .size = sizeof(struct access_log_config),
                                                       .fields = access_log_fields,
                                                       .count = ARRAY_LEN(access_log_fields)};

static const struct config_field watchdog_fields[] = {
    CONFIG_TIMEOUT(struct watchdog_config, stuck, 100, "10s",
                   "a loop that does not turn for so long makes /livez answer 503"),
    CONFIG_TIMEOUT(struct watchdog_config, abort, 0, "60s",
                   "and for so long ends the process, to be started anew; 0s: never"),
};
static const struct config_schema watchdog_schema = {.name = "watchdog",
                                                     .size = sizeof(struct watchdog_config),
                                                     .fields = watchdog_fields,
                                                     .count = ARRAY_LEN(watchdog_fields)};

/* Builds what is made of the configuration, and throws it away: -t finds what start would. */
static int try_out(const struct proxy_config *config, struct err *err)
{
    struct registry *registry = registry_new();
    struct generation *generation;
    int result = generation_new(config, registry, &generation, err);
    generation_free(&generation);
    registry_free(&registry);
    return result;
}

static int root_check(void *section, struct err *err)
{
    struct proxy_config *config = section;
    const struct route_config *routes = config->routes.items;
    unsigned workers;
    config->service.drain_delay_ms = config->timeouts.drain_delay;
    config->service.shutdown_ms = config->timeouts.shutdown;
    config->service.upgrade_ms = config->timeouts.upgrade;
    for (size_t i = 0; i < config->routes.count; i++)
        if (routes[i].access == ROUTE_SUBSCRIPTION && !config->billing)
            return err_set(
                err, "route %zu has access: subscription, but there is no billing section", i + 1);
    if (config_worker_count(config, &workers, err))
        return -1;
    return try_out(config, err);
}

static const char *const traceparent_words[] = {"trusted", "always", NULL};
static const struct config_field root_fields[] = {
    SERVICE_CONFIG_FIELDS(struct proxy_config, service, "127.0.0.1:9480"),
    CONFIG_FIELD(struct proxy_config, listeners, "listeners", CONFIG_LIST, .required = true,
                 .min = 1, .max = 64, .section = &listener_schema, .doc = "where clients connect"),
    CONFIG_FIELD(struct proxy_config, workers, "workers", CONFIG_STRING, .fallback = "auto",
                 .doc = "threads: a number, or auto for as many as there are CPUs to use"),
    CONFIG_FIELD(struct proxy_config, watch, "watch", CONFIG_BOOL, .fallback = "false",
                 .doc = "reload when the file changes, as HUP does"),
    CONFIG_FIELD(struct proxy_config, watchdog, "watchdog", CONFIG_SECTION,
                 .section = &watchdog_schema, .doc = "what happens to a loop that is stuck"),
    CONFIG_FIELD(struct proxy_config, limits, "limits", CONFIG_SECTION, .section = &limits_schema,
                 .doc = "bounds on what clients may ask for"),
    CONFIG_FIELD(struct proxy_config, timeouts, "timeouts", CONFIG_SECTION,
                 .section = &timeouts_schema, .doc = "how long clients may take"),
    CONFIG_FIELD(struct proxy_config, trusted_proxies, "trusted_proxies", CONFIG_STRINGS,
                 .max = 1000, .doc = "networks (CIDR) whose forwarded headers are believed"),
    CONFIG_FIELD(struct proxy_config, access_log, "access_log", CONFIG_SECTION,
                 .section = &access_log_schema, .doc = "one line a request"),
    CONFIG_FIELD(struct proxy_config, traceparent, "traceparent", CONFIG_ENUM,
                 .fallback = "trusted", .words = traceparent_words,
                 .doc = "whose traceparent and tracestate are believed and passed on: of "
                        "trusted_proxies, or always"),
    CONFIG_FIELD(struct proxy_config, expose_debug_headers, "expose_debug_headers", CONFIG_BOOL,
                 .fallback = "false", .doc = "answers say which route, pool and backend they took"),
    CONFIG_FIELD(struct proxy_config, pools, "pools", CONFIG_MAP, .section = &pool_config_schema,
                 .doc = "origins by name"),
    CONFIG_FIELD(struct proxy_config, routes, "routes", CONFIG_LIST, .max = 100000,
                 .section = &route_config_schema, .doc = "what goes where"),
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
