/* The proxy's configuration as structs; the tables that fill them stand in config.c, config_pool.c
 * and config_route.c. Durations are milliseconds, sizes bytes; texts are never NULL. */
#ifndef PROXY_CONFIG_H
#define PROXY_CONFIG_H

#include "libcommon/config.h"
#include "libcommon/service.h"

struct billing_config;

struct certificate_config {
    const char *certificate, *key; /* PEM files; the certificate with its chain */
};

enum tls_version { TLS_1_2, TLS_1_3 };

enum client_auth { CLIENT_AUTH_NONE, CLIENT_AUTH_OPTIONAL, CLIENT_AUTH_REQUIRED };

struct listener_tls_config {
    const char *certificate, *key;
    struct config_list certificates; /* struct certificate_config, by the names they carry (SNI) */
    int min_version;                 /* enum tls_version */
    const char *client_ca;
    int client_auth; /* enum client_auth */
};

enum listener_mode { LISTENER_HTTP, LISTENER_TCP };

enum proxy_protocol_mode { PROXY_PROTOCOL_OFF, PROXY_PROTOCOL_REQUIRED };

struct listener_config {
    const char *address; /* host:port, or unix:/path */
    int mode;            /* enum listener_mode */
    const char *pool;    /* of mode tcp */
    int proxy_protocol;  /* enum proxy_protocol_mode */
    struct listener_tls_config *tls;
};

struct limits_config {
    int64_t connections;
    int64_t connections_per_ip; /* 0: no limit */
    int64_t in_flight;
    int64_t header_bytes;
    int64_t headers;
    int64_t uri_bytes;
    int64_t body_bytes;  /* 0: no limit */
    int64_t rate_per_ip; /* a second; 0: no limit */
    int64_t burst_per_ip;
    int64_t min_rate; /* bytes a second, over the idle time; 0: no limit */
    int64_t memory;   /* resident, of the process; 0: the machine's */
};

struct timeouts_config {
    int64_t tls_handshake;
    int64_t request_head;
    int64_t request_body_idle;
    int64_t response_write_idle;
    int64_t keepalive_idle;
    int64_t tunnel_idle;
    int64_t request; /* the whole exchange; 0: no limit */
    int64_t drain_delay;
    int64_t shutdown;
    int64_t upgrade;
};

enum access_log_format { ACCESS_LOG_JSON, ACCESS_LOG_COMBINED };

struct access_log_config {
    const char *path; /* "-": standard error, with the other log lines */
    int format;       /* enum access_log_format */
    double sample;    /* share of requests that are logged, 0 to 1 */
};

enum traceparent_mode { TRACEPARENT_TRUSTED, TRACEPARENT_ALWAYS };

struct watchdog_config {
    int64_t stuck, abort; /* abort 0: never */
};

#include "services/proxy/config_pool.h"
#include "services/proxy/config_route.h"

struct proxy_config {
    struct service_config service;
    struct config_list listeners;
    const char *workers; /* "auto" or a number */
    bool watch;
    struct watchdog_config watchdog;
    struct limits_config limits;
    struct timeouts_config timeouts;
    struct config_list trusted_proxies;
    struct access_log_config access_log;
    int traceparent; /* enum traceparent_mode */
    bool expose_debug_headers;
    struct config_list pools;
    struct config_list routes;
    struct billing_config *billing;
};

extern const struct config_schema proxy_config_schema;

/* Threads that `workers` stands for: by affinity and the cgroup's CPU quota where it is auto. */
int config_worker_count(const struct proxy_config *config, unsigned *out, struct err *err) MUST_USE;

/* Rows that the tables share. */
#define CONFIG_TIMEOUT(type, member, low, def, text)                                               \
    CONFIG_FIELD(type, member, #member, CONFIG_DURATION, .fallback = (def), .min = (low),          \
                 .max = 24LL * 3600 * 1000, .doc = (text))

#endif
