/* The proxy's configuration as structs; the table that fills them stands in config.c. */
#ifndef PROXY_CONFIG_H
#define PROXY_CONFIG_H

#include "libcommon/config.h"
#include "libcommon/service.h"

struct billing_config;

struct listener_config {
    const char *address; /* host:port */
};

struct limits_config {
    int64_t connections;
    int64_t in_flight;
    int64_t header_bytes;
    int64_t headers;
    int64_t uri_bytes;
    int64_t body_bytes; /* 0: no limit */
};

struct timeouts_config { /* milliseconds */
    int64_t request_head;
    int64_t request_body_idle;
    int64_t response_write_idle;
    int64_t keepalive_idle;
    int64_t drain_delay;
    int64_t shutdown;
};

struct access_log_config {
    double sample; /* share of requests that are logged, 0 to 1 */
};

struct backend_config {
    const char *url; /* http://host:port */
    int64_t weight;
    int64_t max_connections; /* requests at a time over all threads, 0: no limit */
};

enum balance_policy { BALANCE_ROUND_ROBIN, BALANCE_LEAST_CONNECTIONS };

struct pool_timeouts_config { /* milliseconds */
    int64_t connect;
    int64_t response_head;
    int64_t body_idle;
    int64_t keepalive_idle;
};

struct pool_config {
    const char *key; /* name */
    int balance;     /* enum balance_policy */
    struct config_list backends;
    int64_t max_idle; /* idle connections for each backend and thread */
    struct pool_timeouts_config timeouts;
};

struct redirect_config {
    const char *to;
    int64_t status;
};

struct route_limits_config {
    int64_t body_bytes; /* 0: no limit */
};

struct route_config {
    const char *host;
    const char *path;
    const char *pool;
    int access; /* enum route_access */
    const char *service;
    bool strip_prefix;
    bool host_rewrite;
    struct route_limits_config *limits; /* NULL: the general ones */
    struct redirect_config *redirect;
};

struct proxy_config {
    struct service_config service;
    struct config_list listeners;
    const char *workers; /* "auto" or a number */
    struct limits_config limits;
    struct timeouts_config timeouts;
    struct config_list trusted_proxies;
    struct access_log_config access_log;
    struct config_list pools;
    struct config_list routes;
    struct billing_config *billing;
};

extern const struct config_schema proxy_config_schema;

/* Threads that `workers` stands for: by affinity and the cgroup's CPU quota where it is auto. */
int config_worker_count(const struct proxy_config *config, unsigned *out, struct err *err) MUST_USE;

#endif
