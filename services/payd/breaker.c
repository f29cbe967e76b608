/* The rule by which an endpoint that failed is left alone. An endpoint that always answers and
 * never says anything useful is one that failed too: doubts are counted apart, so that its answers
 * to simple questions do not wipe them out. */
#include "services/payd/breaker.h"

#define DOUBLINGS_MAX 30

const int64_t breaker_wait_max = 60000;

enum breaker_state breaker_state(const struct breaker *breaker, int64_t now)
{
    if (breaker->failures == 0 && breaker->doubts == 0)
        return BREAKER_CLOSED;
    return now < breaker->until ? BREAKER_OPEN : BREAKER_HALF_OPEN;
}

static void pause_from(struct breaker *breaker, int64_t now, int64_t at_least)
{
    int64_t pause = breaker->min_ms, times = breaker->failures + breaker->doubts - 1;
    for (int64_t i = 0; i < times && i < DOUBLINGS_MAX && pause < breaker->max_ms; i++)
        pause *= 2;
    if (pause > breaker->max_ms)
        pause = breaker->max_ms;
    if (at_least > breaker_wait_max)
        at_least = breaker_wait_max;
    breaker->until = now + (pause < at_least ? at_least : pause);
}

void breaker_failed(struct breaker *breaker, int64_t now, int64_t at_least)
{
    breaker->failures++;
    pause_from(breaker, now, at_least);
}

void breaker_doubted(struct breaker *breaker, int64_t now)
{
    breaker->doubts++;
    pause_from(breaker, now, 0);
}

void breaker_answered(struct breaker *breaker)
{
    breaker->failures = 0;
}

void breaker_trusted(struct breaker *breaker)
{
    breaker->failures = 0;
    breaker->doubts = 0;
}
