/* Compiles a configuration aside, whole or not at all. */
#include "services/proxy/generation.h"

#include "libcommon/mem.h"
#include "services/proxy/tls_server.h"

static int check_listeners(const struct generation *generation, struct err *err)
{
    const struct listener_config *listeners = generation->config->listeners.items;
    for (size_t i = 0; i < generation->config->listeners.count; i++) {
        const char *name = listeners[i].pool;
        const struct pool *pool = name[0] ? pool_set_find(generation->pools, name) : NULL;
        if (name[0] && !pool)
            return err_set(err, "listener %zu: there is no pool %s", i + 1, name);
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
    free(*generation);
    *generation = NULL;
}
