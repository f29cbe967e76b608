/* The circuit breaker of one backend, in one atomic word: closed; open for a time after so many
 * failures in a row; half-open, when exactly so many requests are let through as a trial and all of
 * them must succeed. Any thread; the caller brings the time (monotonic milliseconds) and the rules,
 * which a reload may change. */
#ifndef PROXY_BREAKER_H
#define PROXY_BREAKER_H

#include "services/proxy/backend_note.h"
#include "services/proxy/config.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

enum breaker_result { BREAKER_OK, BREAKER_FAILED, BREAKER_UNKNOWN /* it was never decided */ };

struct breaker {
    _Atomic uint64_t word; /* zero: closed */
};

enum breaker_state breaker_state(const struct breaker *breaker);
const char *breaker_state_name(enum breaker_state state);
/* Whether a request would be let through now. */
bool breaker_admits(const struct breaker *breaker, const struct breaker_config *rules,
                    int64_t now_ms);
/* How long until it may be worth asking again, 0: now. */
int64_t breaker_wait_ms(const struct breaker *breaker, const struct breaker_config *rules,
                        int64_t now_ms);
/* Lets a request through, or not. *trial is 0, or names the trial that it is a part of. Each true
 * is followed by one breaker_leave, which is true where it has closed the circuit again. */
bool breaker_enter(struct breaker *breaker, const struct breaker_config *rules, int64_t now_ms,
                   const struct backend_note *note, uint64_t *trial);
bool breaker_leave(struct breaker *breaker, const struct breaker_config *rules, uint64_t trial,
                   enum breaker_result result, int64_t now_ms, const struct backend_note *note);

#endif
