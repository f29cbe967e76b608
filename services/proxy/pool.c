/* Makes the pools of a configuration of it and of what the registry knows already. */
#include "services/proxy/pool.h"

#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "services/proxy/registry.h"
#include "services/proxy/tls_origin.h"

#include <string.h>

#define RESOLVE_MS 3000 /* and the look that was begun by then */

static void resolve(struct backend *backend, int64_t until_ms)
{
    struct err err;
    if (atomic_load(&backend->address))
        return;
    if (clock_mono_ms(&clock_system) >= until_ms)
        err_set(&err, "left to the next look: name servers take too long");
    else if (backend_resolve(backend, &err) == 0)
        return;
    log_warn("backend not resolved yet", LOG_STR(BACKEND, backend->authority.base),
             LOG_STR(ERROR, err.msg));
}

void pool_set_resolve(struct pool_set *set)
{
    int64_t until_ms = clock_mono_ms(&clock_system) + RESOLVE_MS;
    for (size_t i = 0; i < set->count; i++)
        for (size_t j = 0; j < set->pools[i].count; j++)
            resolve(set->pools[i].members[j].backend, until_ms);
}

/* How often the backend at `at` stands before it: each of equal ones has a state of its own. */
static unsigned repetition(const struct backend_config *backends, size_t at)
{
    unsigned count = 0;
    for (size_t i = 0; i < at; i++)
        if (strcmp(backends[i].url, backends[at].url) == 0)
            count++;
    return count;
}

static int pool_init(struct pool_set *set, struct pool *pool, const struct pool_config *config,
                     struct tls_authorities **known, struct err *err)
{
    const struct backend_config *backends = config->backends.items;
    pool->index = (unsigned)set->count;
    pool->name = config->key;
    pool->config = config;
    pool->policy = (enum balance_policy)config->balance;
    pool->timeouts = config->timeouts;
    pool->max_idle = (unsigned)config->max_idle;
    set->send_proxy |= config->send_proxy != SEND_PROXY_OFF;
    pool->state = registry_pool(set->registry, config->key);
    pool->members = mem_array(config->backends.count, sizeof(*pool->members));
    for (; pool->count < config->backends.count; pool->count++) {
        const struct backend_config *from = &backends[pool->count];
        struct member *member = &pool->members[pool->count];
        member->weight = from->weight;
        if (member->weight > pool->max_weight)
            pool->max_weight = member->weight;
        member->max_connections = from->max_connections;
        if (registry_backend(set->registry, pool->state, from, repetition(backends, pool->count),
                             &member->backend, err))
            return err_wrap(err, "pool %s", pool->name);
        if (member->backend->tls &&
            tls_origin_new(from->tls, member->backend->host, known, &member->tls, err)) {
            pool->count++;
            return err_wrap(err, "pool %s: backend %s: tls", pool->name, from->url);
        }
        if (member->backend->id >= set->backend_limit)
            set->backend_limit = member->backend->id + 1;
        set->backend_count++;
    }
    return 0;
}

int pool_set_new(const struct proxy_config *config, struct registry *registry,
                 struct pool_set **out, struct err *err)
{
    const struct pool_config *pools = config->pools.items;
    struct pool_set *set = mem_zalloc(sizeof(*set));
    struct tls_authorities *known = NULL;
    int result = 0;
    set->registry = registry;
    set->pools = mem_array(config->pools.count + 1, sizeof(*set->pools));
    while (result == 0 && set->count < config->pools.count) {
        result = pool_init(set, &set->pools[set->count], &pools[set->count], &known, err);
        set->count++;
    }
    tls_authorities_free(&known);
    if (result)
        pool_set_free(&set);
    else
        *out = set;
    return result;
}

void pool_set_free(struct pool_set **set)
{
    if (!*set)
        return;
    for (size_t i = 0; i < (*set)->count; i++) {
        struct pool *pool = &(*set)->pools[i];
        for (size_t j = 0; j < pool->count; j++) {
            tls_origin_unref(&pool->members[j].tls);
            registry_release((*set)->registry, pool->members[j].backend);
        }
        registry_release_pool((*set)->registry, pool->state);
        free(pool->members);
    }
    free((*set)->pools);
    free(*set);
    *set = NULL;
}

struct pool *pool_set_find(const struct pool_set *set, const char *name)
{
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->pools[i].name, name) == 0)
            return &set->pools[i];
    return NULL;
}
