/* Passive ejection of one backend: failures of real requests are counted in a window; too many and
 * it is left out for a time, which grows with each repetition and has jitter. Atomics only; the
 * caller brings time (monotonic milliseconds), rules and randomness, and bounds how many of a pool
 * are out at once. */
#ifndef PROXY_EJECT_H
#define PROXY_EJECT_H

#include "services/proxy/config.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct eject {
    _Atomic uint64_t window;      /* when its first failure was, and how many */
    atomic_int_fast64_t until_ms; /* 0: never ejected */
    atomic_uint times;            /* in a row; forgotten while it is good */
};

bool eject_active(const struct eject *eject, int64_t now_ms);
/* Counts a failure. True: there were too many. */
bool eject_failed(struct eject *eject, const struct passive_config *rules, int64_t now_ms);
/* Leaves it out; not from two threads at once. Returns when it is back. */
int64_t eject_start(struct eject *eject, const struct passive_config *rules, int64_t now_ms,
                    uint64_t random);
/* Whether one more of `count` backends may be out while `out` are. */
bool eject_allowed(const struct passive_config *rules, unsigned count, unsigned out);

#endif
