/* The pools and backends that exist, whatever configuration they stand in: a generation asks for
 * them by name and identity, and gets what an earlier one has left. Counted: an entry is gone, and
 * its id free to be taken again, when nobody holds it. Any thread; never on the request path. */
#ifndef PROXY_REGISTRY_H
#define PROXY_REGISTRY_H

#include "services/proxy/backend.h"

struct registry;

struct registry *registry_new(void);
/* Nothing is held any more. */
void registry_free(struct registry **registry);

/* Held until registry_release_pool. */
struct pool_state *registry_pool(struct registry *registry, const char *name);
void registry_release_pool(struct registry *registry, struct pool_state *pool);

/* Held until registry_release. `repetition` tells backends of one pool apart that are the same
 * otherwise. `pool` is held by the caller for as long. */
int registry_backend(struct registry *registry, struct pool_state *pool,
                     const struct backend_config *config, unsigned repetition, struct backend **out,
                     struct err *err) MUST_USE;
void registry_release(struct registry *registry, struct backend *backend);

/* All backends at this moment, each held: registry_drop_list gives them back. For threads that
 * follow them (names, health). */
struct backend_list {
    struct backend **items;
    size_t count;
};

struct backend_list registry_list(struct registry *registry);
void registry_drop_list(struct registry *registry, struct backend_list *list);

#endif
