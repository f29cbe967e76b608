/* The quota's periods of a grant: k * period_seconds after its start, cut off by its end. */
#ifndef SUBD_PERIOD_H
#define SUBD_PERIOD_H

#include <stdint.h>

struct period {
    int64_t start, end; /* Unix seconds; start <= t < end while the grant runs */
};

/* The period that holds `now`; the first one before the start, the last one after the end. */
struct period period_at(int64_t start, int64_t expiry, int64_t seconds, int64_t now);

/* The end of the UTC day that holds `now`. */
int64_t period_midnight(int64_t now);

/* How long a lease may be spent that is given at now_ms: at most max_ms, never across the period's
 * end, the expiry or midnight UTC. */
int64_t period_lease_ms(const struct period *period, int64_t expiry, int64_t now_ms,
                        int64_t max_ms);

#endif
