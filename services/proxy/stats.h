/* The proxy's metrics: one table, and cells of its own for each worker, so that the request path
 * adds to memory that no other thread writes. Routes and pools have a number for their name that
 * stays the same over all generations of the configuration; what is past STATS_LABELS of them
 * shares the name "other". */
#ifndef PROXY_STATS_H
#define PROXY_STATS_H

#include "libcommon/metrics.h"
#include "libcommon/problem.h"
#include "services/proxy/backend.h"
#include "services/proxy/retry.h"

#define STATS_LABELS 500

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

enum stats_protocol { STATS_HTTP1, STATS_HTTP2, STATS_WEBSOCKET, STATS_TCP, STATS_PROTOCOLS };

enum stats_label_kind { STATS_ROUTE, STATS_POOL, STATS_LABEL_KINDS };

enum stats_label { STATS_LABEL_NONE, STATS_LABEL_OTHER, STATS_LABEL_FIRST };

struct stats_pool {
    struct metric_cell *seconds, *connect_seconds;
    struct metric_cell *active, *idle;
    struct metric_cell *connected, *failed;
    struct metric_cell *retries[RETRY_REASONS];
    struct metric_cell *budget_exhausted;
    struct metric_cell *waits[STATS_WAITS], *wait_seconds;
};

struct stats_route {
    struct metric_cell *seconds, *first_byte;
    struct metric_cell *requests[STATS_METHODS][6]; /* by class of status; made when first used */
};

/* Of one worker. */
struct stats {
    struct metrics *metrics;
    struct metric_cell *in_flight, *bytes_in, *bytes_out, *spliced, *aborts, *refused;
    struct metric_cell *turn_seconds;
    struct metric_cell *connections, *protocols[STATS_PROTOCOLS];
    struct metric_cell *problems[PROBLEM_COUNT]; /* these and below: made when first used */
    struct stats_pool *pools[STATS_LABELS];
    struct stats_route *routes[STATS_LABELS];
};

void stats_init(struct stats *stats, struct metrics *metrics);
void stats_clear(struct stats *stats);

/* The number of a route's or pool's name, below STATS_LABELS. Any thread; not on the request path.
 */
unsigned stats_label(enum stats_label_kind kind, const char *name);
/* Its name again, for good. */
const char *stats_label_name(enum stats_label_kind kind, unsigned label);
/* Number of a method's name, STATS_METHOD_OTHER where it is not one of the usual. */
unsigned stats_method(const char *text, size_t len);

struct stats_pool *stats_pool_make(struct stats *stats, unsigned label);
struct stats_route *stats_route_make(struct stats *stats, unsigned label);

static inline struct stats_pool *stats_pool(struct stats *stats, const struct pool_state *pool)
{
    struct stats_pool *cells = stats->pools[pool->label];
    return cells ? cells : stats_pool_make(stats, pool->label);
}

/* A route's label, or STATS_LABEL_NONE. */
static inline struct stats_route *stats_route(struct stats *stats, unsigned label)
{
    struct stats_route *cells = stats->routes[label];
    return cells ? cells : stats_route_make(stats, label);
}

void stats_count_request(struct stats *stats, unsigned route, unsigned method, unsigned status);
void stats_count_refusal(struct stats *stats, enum problem problem);

#endif
