/* The route table: host and path prefix to what happens there. Compiled once when a configuration
 * is loaded, immutable afterwards and shared by all workers. A lookup allocates nothing and costs
 * by the length of host and path, not by the number of routes. Hosts are tried exact, then
 * `*.suffix` (longest first), then any; within a host the longest prefix at a segment boundary
 * wins; a host without a matching prefix falls through to the next. */
#ifndef PROXY_ROUTE_H
#define PROXY_ROUTE_H

#include "libcommon/err.h"
#include "services/proxy/config.h"
#include "services/proxy/cors.h"
#include "services/proxy/header_edit.h"

#include <h2o.h>
#include <stdbool.h>
#include <stdint.h>

struct pool;
struct pool_set;
struct proxy_config;

enum route_access { ROUTE_PUBLIC, ROUTE_SUBSCRIPTION };

struct route {
    unsigned index;     /* position in the configuration, from 0 */
    unsigned label;     /* stats_label: the same in every generation */
    const char *name;   /* host and path: metric label and log field */
    h2o_iovec_t prefix; /* without the trailing slash; "" is the root */
    enum route_access access;
    const char *service;  /* what is sold here; NULL on public routes */
    struct pool *pool;    /* NULL where the route answers by itself */
    unsigned protocols;   /* set of enum route_protocol */
    bool prefix_replaced; /* by `replacement`, which has no trailing slash; "" strips it */
    h2o_iovec_t replacement;
    bool host_rewrite; /* Host becomes `host`, or the backend's authority */
    h2o_iovec_t host;  /* empty: the backend's */
    bool https_only;
    bool security_headers;
    bool access_token_query;
    bool dressed; /* something is added to its answers */
    struct header_edit request_edit, response_edit;
    struct cors *cors;                    /* NULL: none */
    const struct graphql_config *graphql; /* NULL: requests are not weighed */
    int64_t body_bytes;                   /* 0: no limit */
    int64_t rate_per_ip, burst_per_ip;    /* rate 0: no limit of its own */
    uint64_t scope;                       /* of that rate: the same after a reload; never 0 */
    struct pool_timeouts_config timeouts; /* its pool's, with its own instead */
    int64_t request_ms;                   /* for the whole exchange; 0: no limit */
    int64_t attempts;                     /* 0: as its pool says */

    struct {
        h2o_iovec_t to; /* empty: no redirect */
        unsigned status;
        bool append; /* `to` has no path of its own: the request's is appended */
    } redirect;

    struct {
        unsigned status;   /* 0: no fixed answer */
        h2o_iovec_t lines; /* Content-Type; owned */
        h2o_iovec_t body;
    } respond;
};

struct route_table;

int route_table_new(const struct proxy_config *config, const struct pool_set *pools,
                    struct route_table **out, struct err *err) MUST_USE;
void route_table_free(struct route_table **table);

/* `host` is lower case without port; `path` is in normal form. NULL: no route. */
const struct route *route_match(const struct route_table *table, h2o_iovec_t host,
                                h2o_iovec_t path);

/* What the origin of this route sees of a path that matched it: two parts, of which one may be
 * empty, not both. In normal form, as the path and the replacement are. */
void route_path(const struct route *route, h2o_iovec_t path, h2o_iovec_t parts[2]);

#endif
