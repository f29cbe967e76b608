/* The table of metrics, the numbers of what labels name, and each worker's cells. */
#include "services/proxy/stats.h"

#include "libcommon/mem.h"

#include <pthread.h>
#include <string.h>

#define LABEL_SLOTS 1024 /* over STATS_LABELS, a power of two */

static const double turn_buckets[] = {0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005,
                                      0.01,    0.05,    0.1,    0.5,    1,     0};

const struct metric_desc proxy_metrics[STATS_COUNT] = {
#define METRIC_ROW(id, n, k, h, ...)                                                               \
    [STATS_##id] = {.name = (n),                                                                   \
                    .kind = METRIC_##k,                                                            \
                    .help = (h),                                                                   \
                    .labels = {__VA_ARGS__},                                                       \
                    .buckets = STATS_##id == STATS_LOOP_TURN_SECONDS ? turn_buckets : NULL},
#include "services/proxy/stats.def"
#undef METRIC_ROW
};

static const char *const methods[STATS_METHODS] = {
    "other", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"};
static const char *const protocols[STATS_PROTOCOLS] = {"http1", "http2", "websocket", "tcp"};

/* Names are never forgotten: cells of a worker hang on their numbers. */
static struct labels {
    char *names[STATS_LABELS];
    unsigned count;
    uint16_t slots[LABEL_SLOTS]; /* 0: free */
} labels[STATS_LABEL_KINDS];

static pthread_mutex_t labels_lock = PTHREAD_MUTEX_INITIALIZER;

unsigned stats_method(const char *text, size_t len)
{
    for (unsigned i = 1; i < STATS_METHODS; i++)
        if (strlen(methods[i]) == len && memcmp(methods[i], text, len) == 0)
            return i;
    return STATS_METHOD_OTHER;
}

static const char *const waits[STATS_WAITS] = {
    [STATS_WAIT_PLACED] = "placed",
    [STATS_WAIT_TIMEOUT] = "timeout",
    [STATS_WAIT_LEFT] = "left",
    [STATS_WAIT_FULL] = "full",
};

static size_t hash(const char *name)
{
    uint64_t sum = 14695981039346656037U; /* FNV-1a */
    for (; *name; name++)
        sum = (sum ^ (unsigned char)*name) * 1099511628211U;
    return (size_t)(sum ^ (sum >> 32));
}

static unsigned find_or_add(struct labels *table, const char *name)
{
    size_t at = hash(name);
    while (table->slots[at % LABEL_SLOTS]) {
        unsigned label = table->slots[at++ % LABEL_SLOTS];
        if (strcmp(table->names[label], name) == 0)
            return label;
    }
    if (table->count + STATS_LABEL_FIRST == STATS_LABELS)
        return STATS_LABEL_OTHER;
    unsigned label = STATS_LABEL_FIRST + table->count++;
    table->names[label] = mem_strdup(name);
    table->slots[at % LABEL_SLOTS] = (uint16_t)label;
    return label;
}

unsigned stats_label(enum stats_label_kind kind, const char *name)
{
    pthread_mutex_lock(&labels_lock);
    unsigned label = find_or_add(&labels[kind], name);
    pthread_mutex_unlock(&labels_lock);
    return label;
}

const char *stats_label_name(enum stats_label_kind kind, unsigned label)
{
    if (label < STATS_LABEL_FIRST)
        return label == STATS_LABEL_NONE ? "none" : "other";
    pthread_mutex_lock(&labels_lock);
    const char *name = labels[kind].names[label];
    pthread_mutex_unlock(&labels_lock);
    return name;
}

/* A cell of (pool, second). */
static struct metric_cell *pair(struct stats *stats, enum proxy_metric metric, const char *pool,
                                const char *second)
{
    return metrics_local(stats->metrics, metric, (const char *[]){pool, second});
}

struct stats_pool *stats_pool_make(struct stats *stats, unsigned label)
{
    const char *pool = stats_label_name(STATS_POOL, label);
    struct stats_pool *cells = mem_zalloc(sizeof(*cells));
    cells->seconds = pair(stats, STATS_UPSTREAM_SECONDS, pool, NULL);
    cells->connect_seconds = pair(stats, STATS_UPSTREAM_CONNECT_SECONDS, pool, NULL);
    cells->active = pair(stats, STATS_UPSTREAM_CONNECTIONS, pool, "active");
    cells->idle = pair(stats, STATS_UPSTREAM_CONNECTIONS, pool, "idle");
    cells->connected = pair(stats, STATS_UPSTREAM_CONNECTS, pool, "ok");
    cells->failed = pair(stats, STATS_UPSTREAM_CONNECTS, pool, "failed");
    for (enum retry_reason i = 0; i < RETRY_REASONS; i++)
        cells->retries[i] = pair(stats, STATS_UPSTREAM_RETRIES, pool, retry_reason_name(i));
    for (enum stats_wait i = 0; i < STATS_WAITS; i++)
        cells->waits[i] = pair(stats, STATS_QUEUE_WAITS, pool, waits[i]);
    cells->wait_seconds = pair(stats, STATS_QUEUE_SECONDS, pool, NULL);
    cells->budget_exhausted = pair(stats, STATS_RETRY_BUDGET_EXHAUSTED, pool, NULL);
    stats->pools[label] = cells;
    return cells;
}

struct stats_route *stats_route_make(struct stats *stats, unsigned label)
{
    const char *route[] = {stats_label_name(STATS_ROUTE, label)};
    struct stats_route *cells = mem_zalloc(sizeof(*cells));
    cells->seconds = metrics_local(stats->metrics, STATS_REQUEST_SECONDS, route);
    cells->first_byte = metrics_local(stats->metrics, STATS_FIRST_BYTE_SECONDS, route);
    stats->routes[label] = cells;
    return cells;
}

void stats_init(struct stats *stats, struct metrics *metrics)
{
    stats->metrics = metrics;
    stats->in_flight = metrics_local(metrics, STATS_IN_FLIGHT, NULL);
    stats->spliced = metrics_local(metrics, STATS_SPLICED, NULL);
    stats->bytes_in = metrics_local(metrics, STATS_BYTES_IN, NULL);
    stats->bytes_out = metrics_local(metrics, STATS_BYTES_OUT, NULL);
    stats->aborts = metrics_local(metrics, STATS_ABORTS, NULL);
    stats->refused = metrics_local(metrics, STATS_CONNECTIONS_REFUSED, NULL);
    stats->connections = metrics_local(metrics, STATS_CONNECTIONS, NULL);
    stats->turn_seconds = metrics_local(metrics, STATS_LOOP_TURN_SECONDS, NULL);
    for (size_t i = 0; i < STATS_PROTOCOLS; i++)
        stats->protocols[i] =
            metrics_local(metrics, STATS_PROTOCOL_CONNECTIONS, (const char *[]){protocols[i]});
}

void stats_clear(struct stats *stats)
{
    for (size_t i = 0; i < STATS_LABELS; i++) {
        free(stats->pools[i]);
        free(stats->routes[i]);
    }
}

void stats_count_request(struct stats *stats, unsigned route, unsigned method, unsigned status)
{
    static const char *const classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    unsigned class = status / 100 < ARRAY_LEN(classes) ? status / 100 : 0;
    struct metric_cell **cell = &stats_route(stats, route)->requests[method][class];
    if (!*cell)
        *cell = metrics_local(stats->metrics, STATS_REQUESTS,
                              (const char *[]){stats_label_name(STATS_ROUTE, route),
                                               methods[method], classes[class]});
    metric_add(*cell, 1);
}

void stats_count_refusal(struct stats *stats, enum problem problem)
{
    struct metric_cell **cell = &stats->problems[problem];
    if (!*cell)
        *cell = metrics_local(stats->metrics, STATS_REFUSALS,
                              (const char *[]){problem_get(problem)->name});
    metric_add(*cell, 1);
}
