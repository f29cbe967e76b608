/* The signer's books: what the key has offered for gas within the last hour, and where that ends.
 * They bound what a payd that has gone wrong can burn and how many calls it gets signed, however
 * well each of them keeps to the policy. In memory only: a new process begins a new
 * hour, which payd's own sum of what it keeps (wallet_store_spent) does not. */
#ifndef PAYD_SIGNER_BUDGET_H
#define PAYD_SIGNER_BUDGET_H

#include "libcommon/eth/tx.h"

#define BUDGET_WINDOW_MS 3600000
#define BUDGET_NONCES    4096 /* transactions within it */

struct budget {
    uint64_t limit; /* gwei within any BUDGET_WINDOW_MS */
    size_t count;

    struct budget_entry {
        uint64_t nonce, gwei;
        int64_t at_ms; /* when it was last signed */
    } entries[BUDGET_NONCES];
};

/* Books the most that `tx` can cost, gas * max_fee in gwei, rounded up. One transaction of a nonce
 * is mined at most, so replacements together count once, as the dearest of them. now_ms: of a clock
 * that never goes back. -1, and nothing is booked: the hour has no room for it. */
int budget_take(struct budget *budget, const struct eth_tx *tx, int64_t now_ms,
                struct err *err) MUST_USE;

#endif
