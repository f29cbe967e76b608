/* Everything the data plane needs to sell: the connection to subd, subscriptions, keys, leases and
 * the journal. One object a process; one billing_worker a loop thread. Without a `billing` section
 * none of it exists, and routes with access: subscription are refused at load. */
#ifndef PROXY_BILLING_H
#define PROXY_BILLING_H

#include "libcommon/bus.h"
#include "libcommon/service.h"
#include "services/proxy/worker.h"

struct billing_config {
    struct bus_config nats;
    const char *journal; /* directory */
    int64_t grace_ms;
    int64_t flush_ms;
    const char *issuer; /* `iss` of the tokens; empty: any */
};
extern const struct config_schema billing_config_schema;

struct billing;

/* Opens the journal (created where absent), adopts what dead processes left, starts the threads
 * that talk to subd and flush. Subd and NATS may be away. Before the workers run; fills
 * worker->billing of each. */
int billing_start(const struct billing_config *config, struct service *service,
                  struct worker *const *workers, size_t count, struct billing **out,
                  struct err *err) MUST_USE;
/* After the workers have ended: seals and publishes what is left, waiting up to timeout_ms for subd
 * to say it is applied. */
void billing_stop(struct billing **billing, int64_t timeout_ms);

#endif
