/* Taking configurations over: at the start, and while the proxy runs. Nothing is changed before all
 * that can fail has succeeded; then each worker changes over by itself, between two requests, and
 * what ran goes on with what it began with. Main thread only. */
#ifndef PROXY_RELOAD_H
#define PROXY_RELOAD_H

#include "services/proxy/proxy.h"

/* The first. Before there are workers. */
int reload_first(struct proxy *proxy, struct err *err) MUST_USE;
/* The configuration that the service is about to take over; on failure nothing has changed. */
int reload_take_over(struct proxy *proxy, const struct proxy_config *config,
                     struct err *err) MUST_USE;
/* Now and then: frees what is used no more, and looks whether the files have changed. */
void reload_tick(struct proxy *proxy);
/* After the workers. */
void reload_clear(struct proxy *proxy);

#endif
