/* Routes in the configuration. Included by config.h. */
#ifndef PROXY_CONFIG_ROUTE_H
#define PROXY_CONFIG_ROUTE_H

#include "libcommon/config.h"

struct redirect_config {
    const char *to;
    int64_t status;
};

struct respond_config {
    int64_t status;
    const char *body, *content_type;
};

struct cors_config {
    struct config_list origins, methods, headers, expose;
    bool credentials;
    int64_t max_age;
};

struct graphql_config {
    int64_t max_cost, max_depth;
};

struct header_config {
    const char *key; /* name */
    const char *value;
};

struct header_edit_config {
    struct config_list set;    /* struct header_config: replaces */
    struct config_list remove; /* names */
};

struct route_limits_config {
    int64_t body_bytes; /* 0: no limit */
};

struct route_timeouts_config { /* 0: the pool's, or the general one */
    int64_t connect, response_head, body_idle, request;
};

struct route_retry_config {
    int64_t attempts;
};

enum route_protocol { PROTOCOL_HTTP = 1, PROTOCOL_WEBSOCKET = 2, PROTOCOL_SSE = 4 };

struct route_config {
    const char *host;
    const char *path;
    const char *pool;
    int access; /* enum route_access */
    const char *service;
    struct config_list protocols;
    unsigned protocol_set; /* of enum route_protocol, made of it */
    bool strip_prefix;
    const char *prefix_rewrite; /* "": none */
    const char *host_rewrite;   /* "false", "true": the backend's, or a name */
    bool https_only;
    bool security_headers;
    bool access_token_query;
    int64_t rate_per_ip, burst_per_ip;
    struct header_edit_config request_headers, response_headers;
    struct cors_config *cors;
    struct graphql_config *graphql;
    struct route_limits_config *limits; /* NULL: the general ones */
    struct route_timeouts_config timeouts;
    struct route_retry_config *retry;
    struct redirect_config *redirect;
    struct respond_config *respond;
};

extern const struct config_schema route_config_schema;

#endif
