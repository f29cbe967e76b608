/* The fee policy as arithmetic alone. Sums that could overflow become FEES_MOST, which no cap
 * allows. */
#include "services/payd/fees.h"

#define NODES_ASK 10 /* percent: what geth and its kin ask of a replacement */
#define GWEI      1000000000

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t add(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? FEES_MOST : sum;
}

/* At least 1 more, rounded up. */
static int64_t raise(int64_t fee, int64_t percent)
{
    int64_t more = fee / 100 * percent + (fee % 100 * percent + 99) / 100;
    return add(fee, most(more, 1));
}

static int64_t asked(const struct fees_market *market, int64_t priority)
{
    return add(add(market->base, market->base), priority);
}

/* Whether a replacement above it is still within the cap. */
static bool room(int64_t fee, int64_t cap)
{
    return raise(fee, NODES_ASK) <= cap;
}

bool fees_first(const struct fees_policy *policy, const struct fees_market *market,
                struct fees *out)
{
    out->priority_fee = least(market->priority, policy->priority_cap / 2);
    out->max_fee = least(asked(market, out->priority_fee), policy->cap);
    if (!room(out->max_fee, policy->cap))
        out->max_fee = policy->cap;
    return market->base <= policy->cap;
}

/* -1: the cap is in the way. */
static int64_t bumped(int64_t old, int64_t percent, int64_t market, int64_t cap)
{
    int64_t next = least(most(raise(old, percent), market), cap);
    return next >= raise(old, NODES_ASK) ? next : -1;
}

bool fees_bump(const struct fees_policy *policy, const struct fees_market *market,
               const struct fees *old, struct fees *out)
{
    out->priority_fee =
        bumped(old->priority_fee, policy->bump, market->priority, policy->priority_cap);
    out->max_fee =
        bumped(old->max_fee, policy->bump, asked(market, most(out->priority_fee, 0)), policy->cap);
    if (out->priority_fee < 0 || out->max_fee < 0)
        return false;
    if (!room(out->priority_fee, policy->priority_cap) || !room(out->max_fee, policy->cap))
        out->max_fee = policy->cap;
    return true;
}

int64_t fees_cost_gwei(const struct fees *fees, int64_t gas)
{
    int64_t gwei;
    if (__builtin_mul_overflow(fees->max_fee / GWEI + 1, gas, &gwei))
        return FEES_MOST;
    int64_t wei;
    if (!__builtin_mul_overflow(fees->max_fee, gas, &wei))
        gwei = wei / GWEI + (wei % GWEI != 0);
    return gwei;
}
