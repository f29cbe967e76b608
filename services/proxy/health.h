/* Active health checks: one thread asks the backends of all pools that want it, by HTTP(S) or by a
 * connection alone, each at its own jittered times. A backend counts as up until checks have failed
 * `fall` times in a row, and as down until they were good `rise` times in a row. The same thread
 * looks at the state of pools and backends each second, for the gauges. */
#ifndef PROXY_HEALTH_H
#define PROXY_HEALTH_H

#include "libcommon/err.h"

struct health;
struct metrics;
struct pool_set;

/* *out is NULL on failure. Nothing is watched yet. */
int health_start(struct metrics *metrics, struct health **out, struct err *err) MUST_USE;
/* Watches these pools from now on, new backends at once. Returns when nothing of what it watched
 * before is used any more; `pools` stays until the next call, or health_stop. Main thread. */
void health_follow(struct health *health, const struct pool_set *pools);
void health_stop(struct health **health);

#endif
