/* What is made of one configuration: routes, pools, trusted networks. Immutable once made and
 * shared by all workers; a request keeps the one that it began with to its end. */
#ifndef PROXY_GENERATION_H
#define PROXY_GENERATION_H

#include "services/proxy/cidr.h"
#include "services/proxy/config.h"
#include "services/proxy/pool.h"
#include "services/proxy/route.h"

struct registry;
struct tls_server;

struct generation {
    const struct proxy_config *config;
    struct pool_set *pools;
    struct route_table *routes;
    struct cidr_list trusted;
    struct tls_server **tls; /* by listener; NULL: in the clear */
};

/* `config` and `registry` outlive it. *out is NULL on failure. */
int generation_new(const struct proxy_config *config, struct registry *registry,
                   struct generation **out, struct err *err) MUST_USE;
void generation_free(struct generation **generation);

#endif
