/* When an endpoint may be asked: closed (always), open (not before a moment) and half-open (once,
 * to see). The pause doubles with each failure in a row. Pure; time is handed in as monotonic ms.
 */
#ifndef PAYD_BREAKER_H
#define PAYD_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN };

struct breaker {
    int64_t min_ms, max_ms; /* of a pause */
    int64_t failures;       /* in a row: it gave no answer */
    int64_t doubts;         /* in a row: what it answered could not be used */
    int64_t until;
};

enum breaker_state breaker_state(const struct breaker *breaker, int64_t now);
/* It gave no answer. `at_least`: what it asked for itself, in ms; above breaker_wait_max: that. */
void breaker_failed(struct breaker *breaker, int64_t now, int64_t at_least);
/* What it said could not be used; an answer alone does not make that good. */
void breaker_doubted(struct breaker *breaker, int64_t now);
void breaker_answered(struct breaker *breaker);
void breaker_trusted(struct breaker *breaker);

extern const int64_t breaker_wait_max; /* ms */

#endif
