/* The list of generations that are alive, newest first, and the way from one to the next. */
#include "services/proxy/reload.h"

#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "services/proxy/access_log.h"
#include "services/proxy/adopt.h"
#include "services/proxy/billing.h"
#include "services/proxy/health.h"
#include "services/proxy/memory_guard.h"
#include "services/proxy/registry.h"
#include "services/proxy/watchdog.h"

#include <string.h>
#include <sys/resource.h>

#define SPARE_FILES 128 /* descriptors that are not connections */

static void set_limit(struct proxy *proxy, int64_t limit)
{
    atomic_store_explicit(&proxy->connection_limit, limit, memory_order_relaxed);
}

/* Each connection may need one towards its origin. */
static void set_connection_limit(struct proxy *proxy)
{
    struct rlimit limit;
    int64_t wanted = proxy->generation->config->limits.connections;
    set_limit(proxy, wanted);
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max == RLIM_INFINITY || (int64_t)limit.rlim_max >= wanted * 2 + SPARE_FILES)
        return;
    int64_t lowered = ((int64_t)limit.rlim_max - SPARE_FILES) / 2;
    if (lowered < 1)
        lowered = 1;
    set_limit(proxy, lowered);
    log_warn("limits.connections is lowered: too few file descriptors are allowed",
             LOG_INT(COUNT, lowered));
}

static void show(struct proxy *proxy)
{
    struct metrics *metrics = service_metrics(proxy->service);
    int64_t alive = 0;
    for (const struct generation *at = proxy->generation; at; at = at->older)
        alive++;
    metric_set(metrics_cell(metrics, STATS_CONFIG_VERSION, NULL), proxy->generation->version);
    metric_set(metrics_cell(metrics, STATS_CONFIG_ALIVE, NULL), alive);
}

static uint64_t stamp_of(const struct proxy *proxy, const struct proxy_config *config)
{
    return file_watch_stamp(service_config_path(proxy->service), config);
}

/* It owns its configuration from here. */
static void install(struct proxy *proxy, struct generation *generation)
{
    generation->older = proxy->generation;
    generation->version = generation->older ? generation->older->version + 1 : 1;
    generation->source = service_config_share(proxy->service);
    generation->hash = config_fingerprint(generation->source);
    generation_share(generation, proxy->worker_count);
    proxy->generation = generation;
    set_connection_limit(proxy);
    memory_guard_limit(proxy->memory, generation->config->limits.memory);
    show(proxy);
}

int reload_first(struct proxy *proxy, struct err *err)
{
    struct generation *generation;
    struct sockets added = {NULL, 0};
    unsigned workers;
    const struct proxy_config *config = service_configuration(proxy->service);
    proxy->registry = registry_new();
    file_watch_know(&proxy->watch, stamp_of(proxy, config));
    if (generation_new(config, proxy->registry, &generation, err))
        return -1;
    if (config_worker_count(generation->config, &workers, err) ||
        sockets_open(&proxy->sockets, generation->config, workers, proxy->service, &added, err)) {
        generation_free(&generation);
        return -1;
    }
    pool_set_resolve(generation->pools);
    proxy->worker_count = workers;
    install(proxy, generation);
    sockets_join(&proxy->sockets, &added);
    return 0;
}

/* What is made once. Another process may have it otherwise: that is what USR2 is for. */
static int check_fixed(const struct proxy *proxy, const struct proxy_config *config,
                       struct err *err)
{
    const struct proxy_config *now = proxy->generation->config;
    const char *what = NULL;
    if (strcmp(now->workers, config->workers) != 0)
        what = "workers";
    else if (strcmp(now->service.ops.address, config->service.ops.address) != 0)
        what = "ops.address";
    else if (!config_same(&billing_config_schema, now->billing, config->billing))
        what = "billing";
    if (!what)
        return 0;
    return err_set(err, "%s: cannot change while the process runs; replace it (USR2) or restart",
                   what);
}

static void publish(struct proxy *proxy, struct sockets *added)
{
    sockets_forget(&proxy->sockets, proxy->generation->config);
    sockets_listen(added);
    for (size_t i = 0; i < proxy->worker_count; i++)
        adopt_send(proxy->workers[i], proxy->generation, added);
    sockets_join(&proxy->sockets, added);
    health_follow(proxy->health, proxy->generation->pools);
    watchdog_follow(proxy->watchdog, &proxy->generation->config->watchdog);
}

int reload_take_over(struct proxy *proxy, const struct proxy_config *config, struct err *err)
{
    struct generation *generation;
    struct sockets added = {NULL, 0};
    /* What changes while it is read or taken over may have been read before. */
    bool settled = stamp_of(proxy, proxy->generation->config) == proxy->watch.seen;
    uint64_t stamp = stamp_of(proxy, config);
    file_watch_know(&proxy->watch, proxy->watch.seen); /* a refused one is not tried again */
    if (check_fixed(proxy, config, err) ||
        generation_new(config, proxy->registry, &generation, err))
        return -1;
    if (sockets_open(&proxy->sockets, config, proxy->worker_count, proxy->service, &added, err) ||
        access_log_reload(proxy->access_log, &config->access_log, err)) {
        sockets_close(&added);
        generation_free(&generation);
        return -1;
    }
    pool_set_resolve(generation->pools);
    install(proxy, generation);
    publish(proxy, &added);
    file_watch_know(&proxy->watch, settled ? stamp : 0);
    log_info("configuration taken over", LOG_UINT(VERSION, generation->version));
    return 0;
}

static void reap(struct proxy *proxy)
{
    struct generation **at = &proxy->generation->older;
    while (*at) {
        struct generation *generation = *at;
        if (!generation_unused(generation)) {
            at = &generation->older;
            continue;
        }
        *at = generation->older;
        generation_free(&generation);
    }
    show(proxy);
}

void reload_tick(struct proxy *proxy)
{
    reap(proxy);
    proxy->watch.seen = stamp_of(proxy, proxy->generation->config);
    if (proxy->generation->config->watch && file_watch_look(&proxy->watch, proxy->watch.seen))
        service_reload(proxy->service);
}

void reload_clear(struct proxy *proxy)
{
    while (proxy->generation) {
        struct generation *older = proxy->generation->older;
        generation_free(&proxy->generation);
        proxy->generation = older;
    }
    sockets_clean(&proxy->sockets);
    sockets_clear(&proxy->sockets);
    registry_free(&proxy->registry);
}
