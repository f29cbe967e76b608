/* What a transaction offers for its gas (EIP-1559), and what a replacement offers. Pure; wei per
 * unit of gas. */
#ifndef PAYD_FEES_H
#define PAYD_FEES_H

#include <stdbool.h>
#include <stdint.h>

#define FEES_MOST INT64_MAX /* stands for whatever is more */

struct fees_policy {
    int64_t cap;          /* of max_fee */
    int64_t priority_cap; /* of priority_fee; at most cap */
    int64_t bump;         /* percent that a replacement adds; 10 to 100 */
};

/* What the chain asks for now. */
struct fees_market {
    int64_t base;     /* the newest block's base fee */
    int64_t priority; /* eth_maxPriorityFeePerGas */
};

struct fees {
    int64_t max_fee, priority_fee;
};

/* min(cap, 2 * base + tip), so that the base fee may grow for six full blocks. The tip is half of
 * its cap at most: nodes take a replacement only where both grow, so the first must leave room.
 * False: the base fee is above the cap. */
bool fees_first(const struct fees_policy *policy, const struct fees_market *market,
                struct fees *out);
/* Both grow by `bump` percent or to what the market asks for, whichever is more, up to the caps.
 * The last that the caps leave room for offers the whole cap: a tip that cannot grow any more must
 * not hold the price below what it may be. False: there is no room for one that nodes would take
 * (10 percent more). */
bool fees_bump(const struct fees_policy *policy, const struct fees_market *market,
               const struct fees *old, struct fees *out);
/* gas * max_fee in gwei, rounded up; FEES_MOST where it is more. */
int64_t fees_cost_gwei(const struct fees *fees, int64_t gas);

#endif
