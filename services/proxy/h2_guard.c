/* Counters against floods, as theoretical arrival times. The bounds leave room for what browsers
 * and gRPC clients do: a page that is left resets its hundred streams, a bandwidth probe pings. */
#include "services/proxy/h2_guard.h"

static const struct {
    const char *name;
    int64_t burst, step_us; /* step: one more is allowed after it */
} costs[H2_COSTS] = {
    [H2_COST_RESET] = {"reset", 200, 50 * 1000},
    [H2_COST_SETTINGS] = {"settings", 20, 1000 * 1000},
    [H2_COST_PING] = {"ping", 200, 50 * 1000},
    [H2_COST_EMPTY] = {"empty", 100, 100 * 1000},
    [H2_COST_CONTROL] = {"control", 2000, 5 * 1000},
};

const char *h2_guard_name(enum h2_cost cost)
{
    return costs[cost].name;
}

bool h2_guard_take(struct h2_guard *guard, enum h2_cost cost, int64_t now_us)
{
    int64_t *arrival = &guard->arrival_us[cost];
    int64_t base = *arrival > now_us ? *arrival : now_us;
    if (base - now_us > costs[cost].step_us * (costs[cost].burst - 1))
        return false;
    *arrival = base + costs[cost].step_us;
    return true;
}

void h2_guard_credit(struct h2_guard *guard, enum h2_cost cost, unsigned count)
{
    /* An arrival in the past is a full burst, and no more than that. */
    guard->arrival_us[cost] -= count * costs[cost].step_us;
}
