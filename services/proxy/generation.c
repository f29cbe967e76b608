/* Compiles a configuration aside, whole or not at all. */
#include "services/proxy/generation.h"

#include "libcommon/mem.h"
#include "services/proxy/tls_server.h"

#include <assert.h>
#include <string.h>

static int check_listeners(const struct generation *generation, struct err *err)
{
    const struct listener_config *listeners = generation->config->listeners.items;
    for (size_t i = 0; i < generation->config->listeners.count; i++) {
        for (size_t j = 0; j < i; j++)
            if (strcmp(listeners[i].address, listeners[j].address) == 0)
                return err_set(err, "listeners[%zu]: %s stands there twice", i,
                               listeners[i].address);
        const char *name = listeners[i].pool;
        const struct pool *pool = name[0] ? pool_set_find(generation->pools, name) : NULL;
        if (name[0] && !pool)
            return err_set(err, "listener %zu: there is no pool %s", i + 1, name);
        if (listeners[i].mode == LISTENER_HTTP && generation->config->routes.count == 0)
            return err_set(err, "listener %zu: there are no routes", i + 1);
        for (size_t j = 0; pool && j < pool->count; j++)
            if (pool->members[j].tls)
                return err_set(err, "listener %zu: pool %s: mode: tcp speaks no TLS to a backend",
                               i + 1, name);
    }
    return 0;
}

static int make_tls(struct generation *generation, struct err *err)
{
    const struct config_list *list = &generation->config->listeners;
    const struct listener_config *listeners = list->items;
    generation->tls = mem_array(list->count + 1, sizeof(struct tls_server *));
    for (size_t i = 0; i < list->count; i++)
        if (listeners[i].tls && tls_server_new(listeners[i].tls, listeners[i].mode == LISTENER_HTTP,
                                               tls_tickets_shared(), &generation->tls[i], err))
            return err_wrap(err, "listeners[%zu].tls", i);
    return 0;
}

int generation_new(const struct proxy_config *config, struct registry *registry,
                   struct generation **out, struct err *err)
{
    struct generation *generation = mem_zalloc(sizeof(*generation));
    generation->config = config;
    *out = generation;
    if (cidr_list_new(&config->trusted_proxies, &generation->trusted, err) == 0 &&
        pool_set_new(config, registry, &generation->pools, err) == 0 &&
        route_table_new(config, generation->pools, &generation->routes, err) == 0 &&
        check_listeners(generation, err) == 0 && make_tls(generation, err) == 0)
        return 0;
    generation_free(out);
    return -1;
}

void generation_free(struct generation **generation)
{
    if (!*generation)
        return;
    for (size_t i = 0; (*generation)->tls && i < (*generation)->config->listeners.count; i++)
        tls_server_unref(&(*generation)->tls[i]);
    free((*generation)->tls);
    route_table_free(&(*generation)->routes);
    pool_set_free(&(*generation)->pools);
    cidr_list_free(&(*generation)->trusted);
    config_free(&(*generation)->source);
    free((*generation)->uses);
    free(*generation);
    *generation = NULL;
}

size_t generation_listener(const struct generation *generation, const char *address)
{
    const struct listener_config *listeners = generation->config->listeners.items;
    for (size_t i = 0; i < generation->config->listeners.count; i++)
        if (strcmp(listeners[i].address, address) == 0)
            return i;
    return SIZE_MAX;
}

void generation_share(struct generation *generation, size_t workers)
{
    size_t size = sizeof(struct generation_uses) + workers * sizeof(struct generation_use);
    size_t line = sizeof(struct generation_use);
    generation->uses = aligned_alloc(line, (size + line - 1) / line * line);
    if (!generation->uses)
        abort();
    memset(generation->uses, 0, size);
    atomic_init(&generation->uses->workers, (unsigned)workers);
}

bool generation_unused(const struct generation *generation)
{
    return !generation->uses ||
           atomic_load_explicit(&generation->uses->workers, memory_order_acquire) == 0;
}

void generation_drop(const struct generation *generation, unsigned worker)
{
    struct generation_uses *uses = generation->uses;
    assert(uses->of[worker].count > 0);
    if (--uses->of[worker].count == 0)
        atomic_fetch_sub_explicit(&uses->workers, 1, memory_order_release);
}
