/* What the operator's key may sign: calls of our contract that give money back, take out what was
 * earned, or revoke. Everything else is refused, whoever asks. */
#ifndef PAYD_SIGNER_POLICY_H
#define PAYD_SIGNER_POLICY_H

#include "libcommon/eth/tx.h"

#define POLICY_DATA_MAX (4 + 5 * 32) /* the longest call data that can be allowed */

struct policy {
    uint64_t chain_id;
    uint8_t contract[20];
    uint64_t max_fee;          /* wei per gas */
    uint64_t max_priority_fee; /* wei per gas */
    uint64_t max_gas;
};

/* -1: the key must not sign this, with the rule that says so. */
int policy_check(const struct policy *policy, const struct eth_tx *tx, struct err *err) MUST_USE;

#endif
