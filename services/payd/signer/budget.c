/* A list of nonces that is walked through: a few thousand entries cost less than the signature. */
#include "services/payd/signer/budget.h"

#include <inttypes.h>

#define GWEI 1000000000

static uint64_t most(const struct eth_tx *tx)
{
    unsigned __int128 gwei = ((unsigned __int128)tx->max_fee * tx->gas + GWEI - 1) / GWEI;
    return gwei > UINT64_MAX ? UINT64_MAX : (uint64_t)gwei;
}

static void forget_old(struct budget *budget, int64_t now_ms)
{
    size_t kept = 0;
    for (size_t i = 0; i < budget->count; i++) {
        if (now_ms - budget->entries[i].at_ms < BUDGET_WINDOW_MS)
            budget->entries[kept++] = budget->entries[i];
    }
    budget->count = kept;
}

/* Never above the limit, since nothing is booked beyond it. */
static uint64_t spent(const struct budget *budget)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < budget->count; i++)
        sum += budget->entries[i].gwei;
    return sum;
}

static struct budget_entry *find(struct budget *budget, uint64_t nonce)
{
    for (size_t i = 0; i < budget->count; i++) {
        if (budget->entries[i].nonce == nonce)
            return &budget->entries[i];
    }
    return NULL;
}

int budget_take(struct budget *budget, const struct eth_tx *tx, int64_t now_ms, struct err *err)
{
    forget_old(budget, now_ms);
    uint64_t cost = most(tx), sum = spent(budget);
    struct budget_entry *entry = find(budget, tx->nonce);
    uint64_t more = entry == NULL ? cost : cost > entry->gwei ? cost - entry->gwei : 0;
    if (more > budget->limit - sum)
        return err_set(err,
                       "the budget of %" PRIu64 " gwei an hour is spent: %" PRIu64
                       " are signed for, this asks for %" PRIu64 " more",
                       budget->limit, sum, more);
    if (entry == NULL && budget->count == BUDGET_NONCES)
        return err_set(err, "more than %d transactions within an hour", BUDGET_NONCES);
    if (entry == NULL) {
        entry = &budget->entries[budget->count++];
        *entry = (struct budget_entry){.nonce = tx->nonce};
    }
    entry->gwei += more;
    entry->at_ms = now_ms;
    return 0;
}
