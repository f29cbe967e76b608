/* The proxy as a service: builds what the workers share, starts them, drains and stops them. */
#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "libcommon/service.h"
#include "services/proxy/access_log.h"
#include "services/proxy/billing.h"
#include "services/proxy/env_config.h"
#include "services/proxy/health.h"
#include "services/proxy/ip_rate.h"
#include "services/proxy/ip_slot.h"
#include "services/proxy/listener.h"
#include "services/proxy/memory_guard.h"
#include "services/proxy/otlp.h"
#include "services/proxy/reload.h"
#include "services/proxy/resolver.h"
#include "services/proxy/status.h"
#include "services/proxy/watchdog.h"
#include "services/proxy/worker_private.h"

#include <signal.h>

/* What an end may take beyond the time for requests, and for the journal to be reported. */
#define END_MS          5000
#define IP_RATE_ENTRIES (1 << 17) /* 2 MiB, touched as addresses come */

static int start_billing(struct proxy *proxy, struct err *err)
{
    const struct billing_config *billing = proxy->generation->config->billing;
    if (!billing)
        return 0;
    proxy->boot = service_config_share(proxy->service);
    return billing_start(billing, proxy->service, proxy->workers, proxy->worker_count,
                         &proxy->billing, err);
}

/* Each listener to the workers that poll it. */
static void deal(struct proxy *proxy)
{
    for (size_t i = 0; i < proxy->sockets.count; i++) {
        const struct socket_row *row = &proxy->sockets.rows[i];
        listener_add(proxy->workers[row->worker],
                     generation_listener(proxy->generation, row->address), row->fd);
    }
}

static int start_workers(struct proxy *proxy, struct err *err)
{
    proxy->workers = mem_array(proxy->worker_count, sizeof(struct worker *));
    for (unsigned i = 0; i < proxy->worker_count; i++)
        if (worker_new(proxy, i, &proxy->workers[i], err))
            return -1;
    deal(proxy);
    if (start_billing(proxy, err))
        return -1;
    for (size_t i = 0; i < proxy->worker_count; i++)
        worker_start(proxy->workers[i]);
    return watchdog_start(proxy->service, proxy->workers, proxy->worker_count,
                          &proxy->generation->config->watchdog, &proxy->watchdog, err);
}

static int start(struct service *service, struct err *err)
{
    struct proxy *proxy = mem_zalloc(sizeof(*proxy));
    service_set_state(service, proxy);
    signal(SIGPIPE, SIG_IGN);
    proxy->service = service;
    proxy->started_ms = clock_mono_ms(&clock_system);
    proxy->ip_rate = ip_rate_new(IP_RATE_ENTRIES);
    proxy->ip_slots = ip_slots_new();
    proxy->memory = memory_guard_of_process();
    if (reload_first(proxy, err) ||
        access_log_new(&proxy->generation->config->access_log, &proxy->access_log, err) ||
        otlp_new(&proxy->otlp, err) || resolver_start(proxy->registry, &proxy->resolver, err) ||
        health_start(service_metrics(service), &proxy->health, err))
        return -1;
    health_follow(proxy->health, proxy->generation->pools);
    return start_workers(proxy, err);
}

static void accept_connections(struct service *service)
{
    struct proxy *proxy = service_state(service);
    const struct listener_config *listeners = proxy->generation->config->listeners.items;
    sockets_listen(&proxy->sockets);
    for (size_t i = 0; i < proxy->worker_count; i++)
        worker_accept(proxy->workers[i]);
    for (size_t i = 0; i < proxy->generation->config->listeners.count; i++)
        log_info("listening", LOG_STR(ADDRESS, listeners[i].address),
                 LOG_UINT(COUNT, proxy->worker_count));
}

static int reload(struct service *service, const void *config, struct err *err)
{
    return reload_take_over(service_state(service), config, err);
}

static void tick(struct service *service)
{
    struct proxy *proxy = service_state(service);
    reload_tick(proxy);
    memory_guard_trim(proxy->memory);
}

static void hand_over(struct service *service)
{
    struct proxy *proxy = service_state(service);
    sockets_offer(&proxy->sockets, service);
}

static void drain(struct service *service)
{
    struct proxy *proxy = service_state(service);
    atomic_store(&proxy->draining, true);
    watchdog_end_within(proxy->watchdog, END_MS + 2 * proxy->generation->config->timeouts.shutdown);
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
    size_t made = 0;
    if (!proxy)
        return;
    while (proxy->workers && made < proxy->worker_count && proxy->workers[made])
        made++;
    for (size_t i = 0; i < made; i++)
        worker_stop(proxy->workers[i]);
    if (proxy->billing)
        billing_stop(&proxy->billing, proxy->generation->config->timeouts.shutdown);
    watchdog_stop(&proxy->watchdog);
    for (size_t i = 0; i < made; i++)
        worker_free(&proxy->workers[i]);
    free(proxy->workers);
    resolver_stop(&proxy->resolver);
    ip_rate_free(&proxy->ip_rate);
    ip_slots_free(&proxy->ip_slots);
    memory_guard_free(&proxy->memory);
    otlp_free(&proxy->otlp);
    access_log_free(&proxy->access_log);
    health_stop(&proxy->health);
    reload_clear(proxy);
    config_free(&proxy->boot);
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
    struct memory_state memory = memory_guard_state(proxy->memory);
    metric_set(metrics_cell(metrics, STATS_MEMORY_USED, NULL), memory.used);
    metric_set(metrics_cell(metrics, STATS_MEMORY_LIMIT, NULL), memory.limit);
    metric_set(metrics_cell(metrics, STATS_MEMORY_LEVEL, NULL), memory.level);
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
                                         .config_from_env = env_config_load,
                                         .variables = env_config_variables,
                                         .variable_count = ENV_CONFIG_VARIABLES,
                                         .metrics = proxy_metrics,
                                         .metric_count = STATS_COUNT,
                                         .start = start,
                                         .accept = accept_connections,
                                         .reload = reload,
                                         .tick = tick,
                                         .hand_over = hand_over,
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
