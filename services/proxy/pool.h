/* Pools of backends: made from the configuration, immutable but for their counters, shared by all
 * workers. Idle connections are not here: each worker keeps its own (upstream.h). */
#ifndef PROXY_POOL_H
#define PROXY_POOL_H

#include "services/proxy/config.h"

#include <h2o.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define BACKEND_ADDRESSES_MAX 16

/* What a backend's name stands for at the moment, in order, so that answers can be compared. */
struct backend_address {
    struct {
        struct sockaddr_storage addr;
        socklen_t len;
    } list[BACKEND_ADDRESSES_MAX];

    unsigned count;
    struct backend_address *retired; /* older ones: another thread may still be reading them */
};

struct backend {
    unsigned id; /* over all pools, from 0 */
    struct pool *pool;
    h2o_iovec_t authority; /* host:port: Host where it is rewritten, label and log field */
    char *host, *port;
    bool literal;                              /* an address: never looked up again */
    _Atomic(struct backend_address *) address; /* NULL: not resolved yet */
    atomic_uint turn;                          /* new connections go to the addresses in turn */
    int64_t weight;
    int64_t max_connections;
    atomic_int_fast64_t in_flight;     /* requests, over all threads */
    atomic_int_fast64_t skip_until_ms; /* monotonic: it failed to connect */
};

struct pool {
    unsigned index;
    const char *name;
    enum balance_policy policy;
    struct pool_timeouts_config timeouts;
    unsigned max_idle;
    struct backend *backends;
    size_t count;
};

struct pool_set {
    struct pool *pools;
    size_t count;
    size_t backend_count;
};

int pool_set_new(const struct proxy_config *config, struct pool_set **out,
                 struct err *err) MUST_USE;
/* Blocks. Names that do not resolve now are looked up again by the resolver. */
void pool_set_resolve(struct pool_set *set);
void pool_set_free(struct pool_set **set);
struct pool *pool_set_find(const struct pool_set *set, const char *name);
/* Looks the backend's name up and takes a changed address over. Blocks. */
int backend_resolve(struct backend *backend, struct err *err) MUST_USE;

#endif
