/* The proxy as a service: builds what the workers share, starts them, drains and stops them. */
#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "libcommon/service.h"
#include "services/proxy/access_log.h"
#include "services/proxy/billing.h"
#include "services/proxy/health.h"
#include "services/proxy/ip_rate.h"
#include "services/proxy/ip_slot.h"
#include "services/proxy/otlp.h"
#include "services/proxy/registry.h"
#include "services/proxy/resolver.h"
#include "services/proxy/status.h"
#include "services/proxy/worker_private.h"

#include <signal.h>
#include <sys/resource.h>

#define IP_RATE_ENTRIES (1 << 17) /* 2 MiB, touched as addresses come */
#define SPARE_FILES     128       /* descriptors that are not connections */

/* Each connection may need one towards its origin. */
static void set_connection_limit(struct proxy *proxy)
{
    struct rlimit limit;
    int64_t wanted = proxy->generation->config->limits.connections;
    proxy->connection_limit = wanted;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max == RLIM_INFINITY || (int64_t)limit.rlim_max >= wanted * 2 + SPARE_FILES)
        return;
    proxy->connection_limit = ((int64_t)limit.rlim_max - SPARE_FILES) / 2;
    if (proxy->connection_limit < 1)
        proxy->connection_limit = 1;
    log_warn("limits.connections is lowered: too few file descriptors are allowed",
             LOG_INT(COUNT, proxy->connection_limit));
}

static int start_workers(struct proxy *proxy, struct err *err)
{
    unsigned count;
    if (config_worker_count(proxy->generation->config, &count, err))
        return -1;
    proxy->workers = mem_array(count, sizeof(struct worker *));
    for (unsigned i = 0; i < count; i++) {
        proxy->worker_count++;
        if (worker_new(proxy, i, &proxy->workers[i], err))
            return -1;
    }
    for (size_t i = 0; i < count; i++)
        if (worker_listen(proxy->workers[i], err))
            return -1;
    if (proxy->generation->config->billing &&
        billing_start(proxy->generation->config->billing, proxy->service, proxy->workers, count,
                      &proxy->billing, err))
        return -1;
    for (size_t i = 0; i < count; i++)
        worker_start(proxy->workers[i]);
    return 0;
}

static void log_listeners(const struct proxy *proxy)
{
    const struct listener_config *listeners = proxy->generation->config->listeners.items;
    for (size_t i = 0; i < proxy->generation->config->listeners.count; i++)
        log_info("listening", LOG_STR(ADDRESS, listeners[i].address),
                 LOG_UINT(COUNT, proxy->worker_count));
}

static int start(struct service *service, struct err *err)
{
    struct proxy *proxy = mem_zalloc(sizeof(*proxy));
    service_set_state(service, proxy);
    signal(SIGPIPE, SIG_IGN);
    proxy->service = service;
    proxy->started_ms = clock_mono_ms(&clock_system);
    proxy->registry = registry_new();
    proxy->ip_rate = ip_rate_new(IP_RATE_ENTRIES);
    proxy->ip_slots = ip_slots_new();
    if (generation_new(service_configuration(service), proxy->registry, &proxy->generation, err))
        return -1;
    if (access_log_new(&proxy->generation->config->access_log, &proxy->access_log, err) ||
        otlp_new(&proxy->otlp, err))
        return -1;
    set_connection_limit(proxy);
    pool_set_resolve(proxy->generation->pools);
    if (resolver_start(proxy->registry, &proxy->resolver, err) ||
        health_start(service_metrics(service), &proxy->health, err))
        return -1;
    health_follow(proxy->health, proxy->generation->pools);
    if (start_workers(proxy, err))
        return -1;
    log_listeners(proxy);
    return 0;
}

static void drain(struct service *service)
{
    struct proxy *proxy = service_state(service);
    atomic_store(&proxy->draining, true);
    for (size_t i = 0; i < proxy->worker_count; i++)
        worker_drain(proxy->workers[i]);
}

static bool drained(struct service *service)
{
    struct proxy *proxy = service_state(service);
    return atomic_load(&proxy->connections) == 0;
}

static void stop(struct service *service)
{
    struct proxy *proxy = service_state(service);
    if (!proxy)
        return;
    for (size_t i = 0; i < proxy->worker_count; i++)
        worker_stop(proxy->workers[i]);
    if (proxy->billing)
        billing_stop(&proxy->billing, proxy->generation->config->timeouts.shutdown);
    for (size_t i = 0; i < proxy->worker_count; i++)
        worker_free(&proxy->workers[i]);
    free(proxy->workers);
    resolver_stop(&proxy->resolver);
    ip_rate_free(&proxy->ip_rate);
    ip_slots_free(&proxy->ip_slots);
    otlp_free(&proxy->otlp);
    access_log_free(&proxy->access_log);
    health_stop(&proxy->health);
    generation_free(&proxy->generation);
    registry_free(&proxy->registry);
    free(proxy);
    service_set_state(service, NULL);
}

static void reopen(struct service *service)
{
    struct proxy *proxy = service_state(service);
    access_log_reopen(proxy->access_log);
}

static void collect(struct service *service)
{
    const struct proxy *proxy = service_state(service);
    struct metrics *metrics = service_metrics(service);
    metric_set(metrics_cell(metrics, STATS_ACCESS_LOG_DROPPED, (const char *[]){"ring"}),
               (int64_t)access_log_dropped(proxy->access_log));
    metric_set(metrics_cell(metrics, STATS_ACCESS_LOG_DROPPED, (const char *[]){"write"}),
               (int64_t)access_log_lost(proxy->access_log));
    if (!proxy->otlp)
        return;
    struct otlp_counts spans = otlp_counts(proxy->otlp);
    metric_set(metrics_cell(metrics, STATS_SPANS, (const char *[]){"sent"}), (int64_t)spans.sent);
    metric_set(metrics_cell(metrics, STATS_SPANS, (const char *[]){"failed"}),
               (int64_t)spans.failed);
    metric_set(metrics_cell(metrics, STATS_SPANS, (const char *[]){"dropped"}),
               (int64_t)spans.dropped);
}

static const struct service_desc desc = {.name = "proxy",
                                         .summary = "reverse proxy that sells the API behind it",
                                         .default_config = "/etc/octroi/proxy.yaml",
                                         .config_env = "REVERSE_PROXY_CONFIG_PATH",
                                         .config = &proxy_config_schema,
                                         .metrics = proxy_metrics,
                                         .metric_count = STATS_COUNT,
                                         .start = start,
                                         .drain = drain,
                                         .drained = drained,
                                         .routes = status_routes,
                                         .route_count = STATUS_ROUTES,
                                         .check = status_check,
                                         .reopen = reopen,
                                         .collect = collect,
                                         .stop = stop};

int main(int argc, char **argv)
{
    return service_main(&desc, argc, argv);
}
