/* Pools in the configuration: origins, how they are chosen, watched and tried again. Included by
 * config.h. */
#ifndef PROXY_CONFIG_POOL_H
#define PROXY_CONFIG_POOL_H

#include "libcommon/config.h"

struct backend_tls_config {
    const char *ca;                /* PEM file; empty: the system's */
    const char *server_name;       /* verified and sent as SNI; empty: the URL's host */
    const char *certificate, *key; /* ours; empty: none */
};

struct backend_config {
    const char *url; /* http://host:port, https://host:port, unix:/path */
    int64_t weight;
    int64_t max_connections; /* requests at a time over all threads, 0: no limit */
    struct backend_tls_config *tls;
};

enum balance_policy {
    BALANCE_ROUND_ROBIN,
    BALANCE_LEAST_CONNECTIONS,
    BALANCE_IP_HASH,
    BALANCE_RANDOM_TWO
};

enum health_type { HEALTH_HTTP, HEALTH_TCP };

struct health_config {
    int type; /* enum health_type */
    const char *method, *path, *host;
    int64_t port; /* 0: the backend's */
    int64_t interval, timeout;
    int64_t rise, fall;
    const char *expect;               /* "200-399" or "200" */
    unsigned expect_low, expect_high; /* made of it */
};

struct passive_config {
    int64_t failures; /* 0: off */
    int64_t window, eject;
    int64_t max_ejected; /* percent */
};

struct breaker_config {
    int64_t failures; /* 0: off */
    int64_t open;
    int64_t half_open_requests;
};

struct retry_config {
    int64_t attempts; /* the first counts */
    int64_t budget;   /* percent of requests */
    int64_t base, max;
    int64_t buffer; /* bytes of a body that is kept for replay */
};

struct queue_config {
    int64_t size; /* 0: none */
    int64_t timeout;
};

struct pool_timeouts_config {
    int64_t connect;
    int64_t response_head;
    int64_t body_idle;
    int64_t keepalive_idle;
};

enum send_proxy { SEND_PROXY_OFF, SEND_PROXY_V1, SEND_PROXY_V2 };

struct pool_config {
    const char *key; /* name */
    int balance;     /* enum balance_policy */
    struct config_list backends;
    struct health_config *health; /* NULL: no checks */
    struct passive_config passive;
    struct breaker_config circuit_breaker;
    struct retry_config retry;
    struct pool_timeouts_config timeouts;
    int64_t slow_start;
    int64_t max_in_flight; /* 0: no limit */
    struct queue_config queue;
    int64_t max_idle; /* idle connections for each backend and thread */
    int64_t resolve;  /* between two lookups of the backends' names */
    int send_proxy;   /* enum send_proxy */
};

extern const struct config_schema pool_config_schema;

#endif
