/* Pools of backends as one configuration has them: immutable, and shared by all workers. What is
 * learnt of a pool and its backends stands in backend.h and is shared with the generations before
 * and after. Idle connections are not here: each worker keeps its own (upstream.h). */
#ifndef PROXY_POOL_H
#define PROXY_POOL_H

#include "services/proxy/backend.h"

struct registry;
struct tls_origin;

/* A backend's place in a pool. */
struct member {
    struct backend *backend;
    int64_t weight;
    int64_t max_connections; /* 0: no limit */
    struct tls_origin *tls;  /* NULL: http:// */
};

struct pool {
    unsigned index;
    const char *name;
    const struct pool_config *config;
    struct pool_state *state;
    enum balance_policy policy;
    struct pool_timeouts_config timeouts;
    unsigned max_idle;
    struct member *members;
    size_t count;
    int64_t max_weight; /* of a member */
};

struct pool_set {
    struct registry *registry;
    struct pool *pools;
    size_t count;
    size_t backend_count;
    bool send_proxy;        /* of some pool */
    unsigned backend_limit; /* over the id of each backend */
};

/* `config` and `registry` outlive it. Backends that the registry knows are taken over. */
int pool_set_new(const struct proxy_config *config, struct registry *registry,
                 struct pool_set **out, struct err *err) MUST_USE;
/* Blocks, for some seconds at most where name servers do not answer. Looks up backends that have no
 * address; names that do not resolve now are looked up again by the resolver. */
void pool_set_resolve(struct pool_set *set);
void pool_set_free(struct pool_set **set);
struct pool *pool_set_find(const struct pool_set *set, const char *name);

#endif
