/* What the workers are at, for who looks from outside: each is asked by message and writes down its
 * own numbers, so that nobody reads what a loop is changing. A worker that does not answer in time
 * is stuck, and is shown as that. For ops threads; costs a loop some microseconds a question. */
#ifndef PROXY_SNAPSHOT_H
#define PROXY_SNAPSHOT_H

#include "services/proxy/room.h"
#include "services/proxy/stats.h"

#include <stdatomic.h>

#define SNAPSHOT_OLDEST 20
#define SNAPSHOT_ROOMS  16

struct proxy;

/* A request under way. Never in it: its path, its query, what it authorizes itself with. */
struct snapshot_request {
    char id[64], method[16], backend[64];
    const char *room;
    unsigned route; /* stats_label */
    int64_t age_ms;
    uint64_t bytes_in, bytes_out;
    unsigned attempts;
};

/* A backend's place in the present configuration. */
struct snapshot_backend {
    unsigned id;
    bool usable;
    unsigned idle; /* connections of this worker */
    int64_t weight, max_connections;
};

struct snapshot_route {
    uint64_t requests, errors; /* errors: 5xx */
};

struct snapshot {
    unsigned version; /* of the configuration that it works by */
    uint64_t turns;
    int64_t lag_us; /* from the question until the loop came to it */
    int64_t connections[STATS_PROTOCOLS];
    int64_t in_flight_limit;
    size_t in_flight, rooms[SNAPSHOT_ROOMS];
    struct snapshot_request oldest[SNAPSHOT_OLDEST]; /* the oldest first */
    size_t oldest_count;
    struct snapshot_backend *backends;
    size_t backend_count;
    unsigned empty_pool; /* stats_label of a pool without a usable backend; 0: none */
    struct snapshot_route routes[STATS_LABELS];
};

struct snapshot_set {
    size_t count, answered;
    const struct snapshot **of; /* by worker; NULL: it did not answer */
    struct snapshot_ask *ask;
};

/* Waits at most `wait_ms`. */
void snapshot_take(struct proxy *proxy, int64_t wait_ms, struct snapshot_set *out);
void snapshot_drop(struct snapshot_set *set);
#define AUTO_SNAPSHOT CLEANUP(snapshot_drop)

#endif
