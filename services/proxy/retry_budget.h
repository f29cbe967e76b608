/* How many retries a pool may make: each request puts a share of a retry into a bucket, each retry
 * takes one out. An origin that fails for everybody thus gets a bounded share more of requests, not
 * a multiple. Atomics; any thread. */
#ifndef PROXY_RETRY_BUDGET_H
#define PROXY_RETRY_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Retries that may come at once, and that a new pool begins with. */
#define RETRY_BUDGET_BURST 100

struct retry_budget {
    atomic_int_fast64_t spent; /* hundredths of a retry, from 0 to RETRY_BUDGET_BURST * 100 */
};

/* A first attempt; `percent` of it is put back. Nearly always one load. */
void retry_budget_earn(struct retry_budget *budget, int64_t percent);
/* False: none is left. With percent 0 there is none to begin with. */
bool retry_budget_spend(struct retry_budget *budget, int64_t percent);

#endif
