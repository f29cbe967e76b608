/* Looks up the names of backends again and again: containers move. A thread of its own, because the
 * system's resolver blocks. */
#ifndef PROXY_RESOLVER_H
#define PROXY_RESOLVER_H

#include "libcommon/err.h"

struct registry;

struct resolver;

/* Follows what the registry has. */
int resolver_start(struct registry *registry, struct resolver **out, struct err *err) MUST_USE;
void resolver_stop(struct resolver **resolver);

#endif
