/* The table of metrics, and each worker's cells. */
#include "services/proxy/stats.h"

#include "libcommon/mem.h"

#include <string.h>

const struct metric_desc proxy_metrics[STATS_COUNT] = {
#define METRIC_ROW(id, n, k, h, ...)                                                               \
    [STATS_##id] = {.name = (n), .kind = METRIC_##k, .help = (h), .labels = {__VA_ARGS__}},
#include "services/proxy/stats.def"
#undef METRIC_ROW
};

static const char *const methods[STATS_METHODS] = {
    "other", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"};

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

static void pool_cells(struct stats_pool *cells, struct metrics *metrics, const char *pool)
{
    cells->seconds = metrics_local(metrics, STATS_UPSTREAM_SECONDS, (const char *[]){pool});
    cells->active =
        metrics_local(metrics, STATS_UPSTREAM_CONNECTIONS, (const char *[]){pool, "active"});
    cells->idle =
        metrics_local(metrics, STATS_UPSTREAM_CONNECTIONS, (const char *[]){pool, "idle"});
    cells->connected =
        metrics_local(metrics, STATS_UPSTREAM_CONNECTS, (const char *[]){pool, "ok"});
    cells->failed =
        metrics_local(metrics, STATS_UPSTREAM_CONNECTS, (const char *[]){pool, "failed"});
    for (enum retry_reason i = 0; i < RETRY_REASONS; i++)
        cells->retries[i] = metrics_local(metrics, STATS_UPSTREAM_RETRIES,
                                          (const char *[]){pool, retry_reason_name(i)});
    for (enum stats_wait i = 0; i < STATS_WAITS; i++)
        cells->waits[i] =
            metrics_local(metrics, STATS_QUEUE_WAITS, (const char *[]){pool, waits[i]});
    cells->wait_seconds = metrics_local(metrics, STATS_QUEUE_SECONDS, (const char *[]){pool});
    cells->budget_exhausted =
        metrics_local(metrics, STATS_RETRY_BUDGET_EXHAUSTED, (const char *[]){pool});
}

void stats_init(struct stats *stats, struct metrics *metrics, const struct pool_set *pools,
                size_t route_count)
{
    stats->metrics = metrics;
    stats->in_flight = metrics_local(metrics, STATS_IN_FLIGHT, NULL);
    stats->connections = metrics_local(metrics, STATS_CONNECTIONS, NULL);
    stats->bytes_in = metrics_local(metrics, STATS_BYTES_IN, NULL);
    stats->bytes_out = metrics_local(metrics, STATS_BYTES_OUT, NULL);
    stats->aborts = metrics_local(metrics, STATS_ABORTS, NULL);
    stats->refused = metrics_local(metrics, STATS_CONNECTIONS_REFUSED, NULL);
    stats->pools = mem_array(pools->count + 1, sizeof(*stats->pools));
    for (size_t i = 0; i < pools->count; i++)
        pool_cells(&stats->pools[pools->pools[i].state->id], metrics, pools->pools[i].name);
    stats->route_count = route_count;
    stats->requests = mem_array(route_count + 1, sizeof(*stats->requests));
}

void stats_clear(struct stats *stats)
{
    free(stats->pools);
    free(stats->requests);
}

void stats_count_request(struct stats *stats, size_t route, const char *name, unsigned method,
                         unsigned status)
{
    static const char *const classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    unsigned class = status / 100 < ARRAY_LEN(classes) ? status / 100 : 0;
    struct metric_cell **cell = &stats->requests[route][method][class];
    if (!*cell)
        *cell = metrics_local(stats->metrics, STATS_REQUESTS,
                              (const char *[]){name, methods[method], classes[class]});
    metric_add(*cell, 1);
}
