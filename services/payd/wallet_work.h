/* One turn of the wallet: looks at the chain, follows what was sent, signs and sends what is
 * queued. Holds nothing between turns that a restart could lose. One thread. */
#ifndef PAYD_WALLET_WORK_H
#define PAYD_WALLET_WORK_H

#include "services/payd/payd.h"
#include "services/payd/signer.h"

/* What the wallet waits for: shown as gauges and in /readyz. */
enum wallet_wait {
    WALLET_WAIT_RPC,
    WALLET_WAIT_SIGNER,
    WALLET_WAIT_BUDGET,
    WALLET_WAIT_BEHIND,
    WALLET_WAIT_UNPRICED,
    WALLET_WAIT_FEE_CAP,
    WALLET_WAIT_BALANCE,
    WALLET_WAIT_GAS,
    WALLET_WAIT_NODE,
    WALLET_WAIT_REFUSED,
    WALLET_WAIT_FOREIGN,
    WALLET_WAIT_GAP,
    WALLET_WAITS
};

struct wallet_work;

/* The signer stays the caller's. */
struct wallet_work *wallet_work_new(struct payd *payd, struct signer *signer);
void wallet_work_free(struct wallet_work **work);

/* -1: PostgreSQL or the chain gave no answer, or the epoch is over; what was done stays. */
int wallet_work_turn(struct wallet_work *work, int64_t epoch, struct err *err) MUST_USE;
/* Whether the last turn met it. */
bool wallet_work_waits(const struct wallet_work *work, enum wallet_wait what);
void wallet_work_set_wait(struct wallet_work *work, enum wallet_wait what);

/* The metric's label, and words for an operator. */
const char *wallet_work_wait_name(enum wallet_wait what);
const char *wallet_work_wait_words(enum wallet_wait what);

#endif
