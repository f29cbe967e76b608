/* What a client may do that costs us more than it: each kind has a burst and a rate, and a
 * connection that goes beyond is closed. Useful work (a response that is taken) gives credit back.
 * Time is injected. */
#ifndef PROXY_H2_GUARD_H
#define PROXY_H2_GUARD_H

#include <stdbool.h>
#include <stdint.h>

enum h2_cost {
    H2_COST_RESET,    /* a stream that the client resets, or makes us reset (CVE-2023-44487) */
    H2_COST_SETTINGS, /* each is answered and may touch every stream */
    H2_COST_PING,
    H2_COST_EMPTY,   /* frames that carry nothing */
    H2_COST_CONTROL, /* the rest: priorities, windows, unknown frames */
    H2_COSTS
};

struct h2_guard {
    int64_t arrival_us[H2_COSTS]; /* as in gcra.h */
};

/* Label of the metric. */
const char *h2_guard_name(enum h2_cost cost);
/* false: too much. */
bool h2_guard_take(struct h2_guard *guard, enum h2_cost cost, int64_t now_us);
void h2_guard_credit(struct h2_guard *guard, enum h2_cost cost, unsigned count);

#endif
