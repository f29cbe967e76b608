/* Kept as what was spent, so that the bucket of a pool without failures is never written. */
#include "services/proxy/retry_budget.h"

#define FULL (RETRY_BUDGET_BURST * 100)

void retry_budget_earn(struct retry_budget *budget, int64_t percent)
{
    int64_t spent = atomic_load_explicit(&budget->spent, memory_order_relaxed);
    int64_t left;
    do {
        if (spent <= 0)
            return;
        left = spent > percent ? spent - percent : 0;
    } while (!atomic_compare_exchange_weak_explicit(&budget->spent, &spent, left,
                                                    memory_order_relaxed, memory_order_relaxed));
}

bool retry_budget_spend(struct retry_budget *budget, int64_t percent)
{
    int64_t spent = atomic_load_explicit(&budget->spent, memory_order_relaxed);
    do {
        if (percent == 0 || spent + 100 > FULL)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&budget->spent, &spent, spent + 100,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}
