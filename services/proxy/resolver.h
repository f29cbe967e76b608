/* Looks up the names of backends again and again: containers move. A thread of its own, because the
 * system's resolver blocks. */
#ifndef PROXY_RESOLVER_H
#define PROXY_RESOLVER_H

#include "services/proxy/pool.h"

struct resolver;

/* *out is NULL where every backend is an address. */
int resolver_start(struct pool_set *pools, struct resolver **out, struct err *err) MUST_USE;
void resolver_stop(struct resolver **resolver);

#endif
