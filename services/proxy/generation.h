/* What is made of one configuration: routes, pools, trusted networks. Immutable once made and
 * shared by all workers; a request keeps the one that it began with to its end. Each worker counts
 * for itself who uses it there, and gives up its share when nobody does; the main thread frees what
 * no worker has a share of (reload.h). */
#ifndef PROXY_GENERATION_H
#define PROXY_GENERATION_H

#include "services/proxy/cidr.h"
#include "services/proxy/config.h"
#include "services/proxy/pool.h"
#include "services/proxy/route.h"

#include <stdatomic.h>

struct registry;
struct tls_server;

/* Of one worker, on a cache line of its own. */
struct generation_use {
    _Alignas(64) unsigned count;
};

struct generation_uses {
    atomic_uint workers; /* that have a share */
    struct generation_use of[];
};

struct generation {
    unsigned version;      /* from 1; grows with each that is taken over */
    uint64_t hash;         /* of the text that it was made of */
    struct config *source; /* owned, where it is not NULL: what `config` stands in */
    struct generation_uses *uses;
    struct generation *older; /* reload.c */
    const struct proxy_config *config;
    struct pool_set *pools;
    struct route_table *routes;
    struct cidr_list trusted;
    struct tls_server **tls; /* by listener; NULL: in the clear */
};

/* `config` and `registry` outlive it. *out is NULL on failure. */
int generation_new(const struct proxy_config *config, struct registry *registry,
                   struct generation **out, struct err *err) MUST_USE;
void generation_free(struct generation **generation);
/* Index of the listener at this address; SIZE_MAX: there is none. */
size_t generation_listener(const struct generation *generation, const char *address);

/* Before it is handed to `workers` workers: each has a share, and takes it by its first hold. */
void generation_share(struct generation *generation, size_t workers);
/* No worker has a share any more. Any thread. */
bool generation_unused(const struct generation *generation);

/* On the thread of that worker: it stays, with its configuration, until the same worker drops it.
 */
static inline void generation_hold(const struct generation *generation, unsigned worker)
{
    generation->uses->of[worker].count++;
}

void generation_drop(const struct generation *generation, unsigned worker);

#endif
