/* Reads the REVERSE_PROXY_* variables, each checked by itself so that an error names it, and writes
 * the configuration that they stand for; from there on it is loaded as any file is. */
#include "services/proxy/env_config.h"

#include "services/proxy/cidr.h"
#include "services/proxy/config.h"
#include "services/proxy/path.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "REVERSE_PROXY_"

enum variable {
    UPSTREAMS,
    LISTEN,
    OPS_ADDRESS,
    CONNECT_TIMEOUT_MS,
    MAX_IN_FLIGHT,
    STREAM_LARGE_BODIES,
    STREAM_THRESHOLD_BYTES,
    HEALTHCHECK,
    HEALTHCHECK_INTERVAL_SECS,
    SHUTDOWN_GRACE_SECONDS,
    CIRCUIT_BREAKER,
    CIRCUIT_BREAKER_FAILURE_THRESHOLD,
    CIRCUIT_BREAKER_OPEN_MS,
    RETRY_BACKOFF_BASE_MS,
    RETRY_BACKOFF_MAX_MS,
    TRUSTED_PROXIES,
    METRICS_BEARER_TOKEN,
    EXPOSE_DEBUG_HEADERS,
    VARIABLE_COUNT
};

const struct service_variable env_config_variables[ENV_CONFIG_VARIABLES] = {
    [UPSTREAMS] = {PREFIX "UPSTREAMS", "list", NULL,
                   "origins, separated by commas: http://host:port, https://host:port, unix:/path"},
    [LISTEN] = {PREFIX "LISTEN", "host:port", "0.0.0.0:8000", "where clients connect"},
    [OPS_ADDRESS] = {PREFIX "OPS_ADDRESS", "host:port", "127.0.0.1:9480", "operations listener"},
    [CONNECT_TIMEOUT_MS] = {PREFIX "CONNECT_TIMEOUT_MS", "10 to 600000", "1000",
                            "for a connection to an origin to be established"},
    [MAX_IN_FLIGHT] = {PREFIX "MAX_IN_FLIGHT", "1 to 1000000", "10000",
                       "requests at a time; more are refused"},
    [STREAM_LARGE_BODIES] = {PREFIX "STREAM_LARGE_BODIES", "boolean", "true",
                             "false: bodies up to 16 MiB are kept for a retry, whatever "
                             "the threshold says; larger ones stream all the same"},
    [STREAM_THRESHOLD_BYTES] = {PREFIX "STREAM_THRESHOLD_BYTES", "0 to 16777216", "65536",
                                "a body up to this size is kept for a retry, larger ones stream"},
    [HEALTHCHECK] = {PREFIX "HEALTHCHECK", "boolean or path", "false",
                     "asks each origin for this path (true: /) and leaves out those that do not "
                     "answer 200 to 399"},
    [HEALTHCHECK_INTERVAL_SECS] = {PREFIX "HEALTHCHECK_INTERVAL_SECS", "1 to 86400", "5",
                                   "between two checks of an origin"},
    [SHUTDOWN_GRACE_SECONDS] = {PREFIX "SHUTDOWN_GRACE_SECONDS", "0 to 86400", "30",
                                "for requests in flight to finish"},
    [CIRCUIT_BREAKER] = {PREFIX "CIRCUIT_BREAKER", "boolean", "false",
                         "stops asking an origin that only fails"},
    [CIRCUIT_BREAKER_FAILURE_THRESHOLD] = {PREFIX "CIRCUIT_BREAKER_FAILURE_THRESHOLD",
                                           "1 to 100000", "5",
                                           "failures in a row until the circuit opens"},
    [CIRCUIT_BREAKER_OPEN_MS] = {PREFIX "CIRCUIT_BREAKER_OPEN_MS", "10 to 86400000", "10000",
                                 "until it is tried again"},
    [RETRY_BACKOFF_BASE_MS] = {PREFIX "RETRY_BACKOFF_BASE_MS", "0 to 86400000", "25",
                               "wait before the first retry; doubled for each further one"},
    [RETRY_BACKOFF_MAX_MS] = {PREFIX "RETRY_BACKOFF_MAX_MS", "0 to 86400000", "1000",
                              "the longest such wait"},
    [TRUSTED_PROXIES] = {PREFIX "TRUSTED_PROXIES", "list", "",
                         "networks (CIDR), separated by commas, whose forwarded headers are "
                         "believed"},
    [METRICS_BEARER_TOKEN] = {PREFIX "METRICS_BEARER_TOKEN", "text", "",
                              "what /metrics asks for as `Authorization: Bearer`; empty: nothing"},
    [EXPOSE_DEBUG_HEADERS] = {PREFIX "EXPOSE_DEBUG_HEADERS", "boolean", "false",
                              "answers say which route, pool and backend they took"},
};
_Static_assert(VARIABLE_COUNT == ENV_CONFIG_VARIABLES, "each variable has its row");

/* What stands in the environment, or the defaults; never NULL. */
struct values {
    const char *of[VARIABLE_COUNT];
};

static const char *name_of(enum variable variable)
{
    return env_config_variables[variable].name;
}

static int take(struct values *values, const char *entry, struct err *err)
{
    const char *equals = strchr(entry, '=');
    size_t len = equals ? (size_t)(equals - entry) : 0;
    if (!equals || strncmp(entry, PREFIX, sizeof(PREFIX) - 1) != 0 ||
        strncmp(entry, PREFIX "CONFIG_PATH=", sizeof(PREFIX "CONFIG_PATH=") - 1) == 0)
        return 0;
    for (size_t i = 0; i < VARIABLE_COUNT; i++) {
        const char *name = env_config_variables[i].name;
        if (strlen(name) != len || memcmp(name, entry, len) != 0)
            continue;
        if (equals[1]) /* empty is not set */
            values->of[i] = equals + 1;
        return 0;
    }
    return err_set(err, "%.*s is not a variable of this proxy", (int)len, entry);
}

static int read_all(char *const *environment, struct values *values, struct err *err)
{
    for (size_t i = 0; i < VARIABLE_COUNT; i++)
        values->of[i] = env_config_variables[i].fallback;
    for (; *environment; environment++)
        if (take(values, *environment, err))
            return -1;
    if (!values->of[UPSTREAMS])
        return err_set(err, "there is no configuration file, and %s is not set",
                       name_of(UPSTREAMS));
    return 0;
}

static int get_number(const struct values *values, enum variable variable, int64_t *out,
                      struct err *err)
{
    long long low, high;
    const char *text = values->of[variable], *range = env_config_variables[variable].kind;
    if (sscanf(range, "%lld to %lld", &low, &high) != 2)
        abort();
    *out = 0;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9' || *out > high)
            return err_set(err, "%s is a whole number from %s", name_of(variable), range);
        *out = *out * 10 + (*c - '0');
    }
    if (*out < low || *out > high)
        return err_set(err, "%s is a whole number from %s", name_of(variable), range);
    return 0;
}

/* 1, 0, or -1: it is no boolean. */
static int boolean(const char *text)
{
    static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "off", "on"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcasecmp(text, words[i]) == 0)
            return (int)(i & 1);
    return -1;
}

static int get_boolean(const struct values *values, enum variable variable, bool *out,
                       struct err *err)
{
    int value = boolean(values->of[variable]);
    *out = value == 1;
    return value < 0 ? err_set(err, "%s is true or false", name_of(variable)) : 0;
}

/* As a YAML scalar that nothing is expanded in. */
static void put_text(struct buf *out, const char *text, size_t len)
{
    buf_putc(out, '\'');
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\'' || text[i] == '$')
            buf_putc(out, text[i]);
        buf_putc(out, text[i]);
    }
    buf_putc(out, '\'');
}

static bool printable(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

static bool is_authority(const char *text, size_t len, bool port_needed)
{
    char copy[512], host[512];
    size_t host_len;
    if (len == 0 || len >= sizeof(copy))
        return false;
    memcpy(copy, text, len);
    h2o_iovec_t authority = h2o_iovec_init(copy, len);
    return host_normalize(authority, host, &host_len) == 0 &&
           (!port_needed || host_port(authority));
}

static const char *check_upstream(const char *text, size_t len)
{
    static const char *const schemes[] = {"http://", "https://"};
    if (len > 6 && memcmp(text, "unix:/", 6) == 0)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t skip = strlen(schemes[i]);
        if (len > skip && memcmp(text, schemes[i], skip) == 0)
            return is_authority(text + skip, len - skip, false)
                       ? NULL
                       : "is scheme://host:port without path, query or user";
    }
    return "begins with http://, https:// or unix:/";
}

static const char *check_network(const char *text, size_t len)
{
    char copy[64];
    const char *items[] = {copy};
    struct config_list list = {items, 1};
    struct cidr_list networks;
    struct err err;
    if (len >= sizeof(copy))
        return "is a network, as 10.0.0.0/8";
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (cidr_list_new(&list, &networks, &err))
        return "is a network, as 10.0.0.0/8";
    cidr_list_free(&networks);
    return NULL;
}

/* A comma-separated list, as a YAML one. */
static int put_list(const struct values *values, enum variable variable,
                    const char *(*check)(const char *, size_t), struct buf *out, struct err *err)
{
    size_t count = 0;
    buf_putc(out, '[');
    for (const char *at = values->of[variable]; *at;) {
        at += strspn(at, " \t,");
        size_t len = strcspn(at, ","), end = len;
        while (end > 0 && strchr(" \t", at[end - 1]))
            end--;
        if (end == 0)
            break;
        const char *why = check(at, end);
        if (why)
            return err_set(err, "%s: \"%.*s\": each entry %s", name_of(variable), (int)end, at,
                           why);
        buf_puts(out, count++ ? ", " : "");
        put_text(out, at, end);
        at += len;
    }
    buf_puts(out, "]\n");
    if (count == 0 && variable == UPSTREAMS)
        return err_set(err, "%s names no origin", name_of(variable));
    return 0;
}

static int put_health(const struct values *values, struct buf *out, struct err *err)
{
    const char *text = values->of[HEALTHCHECK];
    int wanted = boolean(text);
    int64_t interval;
    if (get_number(values, HEALTHCHECK_INTERVAL_SECS, &interval, err))
        return -1;
    if (wanted < 0 && (text[0] != '/' || !printable(text) || strchr(text, ' ')))
        return err_set(err, "%s is true, false or a path", name_of(HEALTHCHECK));
    if (wanted == 0)
        return 0;
    buf_printf(out, "    health: { interval: %llds, path: ", (long long)interval);
    if (wanted == 1)
        text = "/";
    put_text(out, text, strlen(text));
    buf_puts(out, " }\n");
    return 0;
}

static int put_breaker(const struct values *values, struct buf *out, struct err *err)
{
    bool wanted;
    int64_t failures, open_ms;
    if (get_boolean(values, CIRCUIT_BREAKER, &wanted, err) ||
        get_number(values, CIRCUIT_BREAKER_FAILURE_THRESHOLD, &failures, err) ||
        get_number(values, CIRCUIT_BREAKER_OPEN_MS, &open_ms, err))
        return -1;
    if (wanted)
        buf_printf(out, "    circuit_breaker: { failures: %lld, open: %lldms }\n",
                   (long long)failures, (long long)open_ms);
    return 0;
}

static int put_retry(const struct values *values, struct buf *out, struct err *err)
{
    bool stream;
    int64_t base, max, threshold;
    if (get_boolean(values, STREAM_LARGE_BODIES, &stream, err) ||
        get_number(values, STREAM_THRESHOLD_BYTES, &threshold, err) ||
        get_number(values, RETRY_BACKOFF_BASE_MS, &base, err) ||
        get_number(values, RETRY_BACKOFF_MAX_MS, &max, err))
        return -1;
    if (base > max)
        return err_set(err, "%s is more than %s", name_of(RETRY_BACKOFF_BASE_MS),
                       name_of(RETRY_BACKOFF_MAX_MS));
    buf_printf(out, "    retry: { base: %lldms, max: %lldms, buffer: %lld }\n", (long long)base,
               (long long)max, stream ? (long long)threshold : 16LL << 20);
    return 0;
}

static int put_pools(const struct values *values, struct buf *out, struct err *err)
{
    int64_t connect_ms;
    buf_puts(out, "pools:\n  upstreams:\n    backends: ");
    if (put_list(values, UPSTREAMS, check_upstream, out, err) ||
        get_number(values, CONNECT_TIMEOUT_MS, &connect_ms, err))
        return -1;
    buf_printf(out, "    timeouts: { connect: %lldms }\n", (long long)connect_ms);
    if (put_health(values, out, err) || put_breaker(values, out, err) ||
        put_retry(values, out, err))
        return -1;
    /* The public port shows the operations listener too; what that answers is no failure of it. */
    buf_printf(out,
               "  ops:\n    backends: ['http://%s']\n    passive: { failures: 0 }\n"
               "    retry: { attempts: 1 }\n",
               values->of[OPS_ADDRESS]);
    return 0;
}

/* RFC 6750: another could never be sent. */
static bool is_bearer_token(const char *text)
{
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr("-._~+/=", *text))
            return false;
    return true;
}

static int put_general(const struct values *values, struct buf *out, struct err *err)
{
    int64_t in_flight, grace;
    bool debug;
    for (enum variable i = LISTEN; i <= OPS_ADDRESS; i++)
        if (!is_authority(values->of[i], strlen(values->of[i]), true))
            return err_set(err, "%s is host:port", name_of(i));
    if (!is_bearer_token(values->of[METRICS_BEARER_TOKEN]))
        return err_set(err, "%s holds something that no Bearer token can",
                       name_of(METRICS_BEARER_TOKEN));
    if (get_number(values, MAX_IN_FLIGHT, &in_flight, err) ||
        get_number(values, SHUTDOWN_GRACE_SECONDS, &grace, err) ||
        get_boolean(values, EXPOSE_DEBUG_HEADERS, &debug, err))
        return -1;
    buf_printf(out, "listeners: ['%s']\nops:\n  address: '%s'\n  metrics_bearer_token: ",
               values->of[LISTEN], values->of[OPS_ADDRESS]);
    put_text(out, values->of[METRICS_BEARER_TOKEN], strlen(values->of[METRICS_BEARER_TOKEN]));
    buf_printf(out, "\nlimits: { in_flight: %lld }\ntimeouts: { shutdown: %llds }\n",
               (long long)in_flight, (long long)grace);
    buf_printf(out, "expose_debug_headers: %s\ntrusted_proxies: ", debug ? "true" : "false");
    return put_list(values, TRUSTED_PROXIES, check_network, out, err);
}

int env_config_yaml(char *const *environment, struct buf *out, struct err *err)
{
    static const char *const shown[] = {"/healthz", "/livez", "/readyz", "/metrics"};
    struct values values;
    if (read_all(environment, &values, err) || put_general(&values, out, err) ||
        put_pools(&values, out, err))
        return -1;
    buf_puts(out, "routes:\n  - { path: /, pool: upstreams }\n");
    for (size_t i = 0; i < ARRAY_LEN(shown); i++)
        buf_printf(out, "  - { path: %s, pool: ops }\n", shown[i]);
    return 0;
}

int env_config_load(struct config **out, struct err *err)
{
    AUTO_BUF struct buf yaml = {0};
    if (env_config_yaml(environ, &yaml, err))
        return -1;
    if (config_parse("what the " PREFIX "* variables make", yaml.data, yaml.len,
                     &proxy_config_schema, out, err))
        return -1;
    return 0;
}
