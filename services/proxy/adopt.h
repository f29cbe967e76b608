/* How a worker changes over to another generation: on its own thread, between two callbacks. */
#ifndef PROXY_ADOPT_H
#define PROXY_ADOPT_H

#include "services/proxy/sockets.h"
#include "services/proxy/worker_private.h"

/* Before the worker runs. It holds a share of the generation from now on. */
void adopt_first(struct worker *worker, const struct generation *generation);
/* Main thread. `added`: sockets of the listeners that are new; those of this worker become its own.
 */
void adopt_send(struct worker *worker, const struct generation *generation,
                const struct sockets *added);

#endif
