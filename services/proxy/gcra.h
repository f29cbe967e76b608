/* The generic cell rate algorithm: one number a subscription, the theoretical arrival time of its
 * next request, moved by compare and swap by whichever worker admits one. */
#ifndef PROXY_GCRA_H
#define PROXY_GCRA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct gcra {
    _Atomic int64_t arrival_ns; /* 0: nothing came yet */
};

/* rate: requests a second, 0: no limit; burst: how many may come at once, at least 1. false: not
 * now; *retry_ns is how long to wait. */
bool gcra_take(struct gcra *gcra, int64_t rate, int64_t burst, int64_t now_ns, int64_t *retry_ns);
/* Nothing of the burst is missing: a new one would admit as much. */
bool gcra_full(const struct gcra *gcra, int64_t now_ns);

#endif
