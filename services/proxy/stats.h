/* The proxy's metrics: one table, and cells of its own for each worker, so that the request path
 * adds to memory that no other thread writes. */
#ifndef PROXY_STATS_H
#define PROXY_STATS_H

#include "libcommon/metrics.h"
#include "services/proxy/pool.h"
#include "services/proxy/retry.h"

enum proxy_metric {

#define METRIC_ROW(id, ...) STATS_##id,
#include "services/proxy/stats.def"
#undef METRIC_ROW
    STATS_COUNT
};

extern const struct metric_desc proxy_metrics[STATS_COUNT];

enum stats_method { STATS_METHOD_OTHER, STATS_METHODS = 10 };

enum stats_wait {
    STATS_WAIT_PLACED,
    STATS_WAIT_TIMEOUT,
    STATS_WAIT_LEFT,
    STATS_WAIT_FULL,
    STATS_WAITS
};

struct stats_pool {
    struct metric_cell *seconds;
    struct metric_cell *active, *idle;
    struct metric_cell *connected, *failed;
    struct metric_cell *retries[RETRY_REASONS];
    struct metric_cell *budget_exhausted;
    struct metric_cell *waits[STATS_WAITS], *wait_seconds;
};

/* Of one worker. */
struct stats {
    struct metrics *metrics;
    struct metric_cell *in_flight, *connections, *bytes_in, *bytes_out, *aborts, *refused;
    struct stats_pool *pools;
    struct metric_cell *(
        *requests)[STATS_METHODS][6]; /* by route (the last: none); made when first used */
    size_t route_count;
};

void stats_init(struct stats *stats, struct metrics *metrics, const struct pool_set *pools,
                size_t route_count);
void stats_clear(struct stats *stats);
/* Number of a method's name, STATS_METHOD_OTHER where it is not one of the usual. */
unsigned stats_method(const char *text, size_t len);
/* `route` is the route's index, or route_count; name is its label. */
void stats_count_request(struct stats *stats, size_t route, const char *name, unsigned method,
                         unsigned status);

#endif
