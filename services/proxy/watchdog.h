/* Looks from a thread of its own whether the loops still turn. One that is in the same turn for too
 * long is told in the log, a metric and /livez; in the end the process is aborted, so that who
 * supervises it starts it anew. A drain that does not end is ended the same way. */
#ifndef PROXY_WATCHDOG_H
#define PROXY_WATCHDOG_H

#include "libcommon/err.h"
#include "services/proxy/config.h"

struct service;
struct watchdog;
struct worker;

/* What is known of one loop. */
struct watched {
    int64_t turn_ns;  /* when the turn began that was seen last */
    int64_t still_ms; /* for how long it has been the same */
    bool stuck;
};

enum watchdog_verdict { WATCHDOG_FINE, WATCHDOG_STUCK, WATCHDOG_RECOVERED, WATCHDOG_HOPELESS };

/* One look, `elapsed_ms` after the one before. turn_ns 0: the loop sleeps. STUCK and RECOVERED are
 * said once each. */
enum watchdog_verdict watchdog_look(struct watched *watched, int64_t turn_ns, int64_t elapsed_ms,
                                    const struct watchdog_config *rules);

/* The workers outlive it. */
int watchdog_start(struct service *service, struct worker *const *workers, size_t count,
                   const struct watchdog_config *rules, struct watchdog **out,
                   struct err *err) MUST_USE;
void watchdog_follow(struct watchdog *watchdog, const struct watchdog_config *rules);
/* The process has to be gone by then. */
void watchdog_end_within(struct watchdog *watchdog, int64_t ms);
void watchdog_stop(struct watchdog **watchdog);

#endif
