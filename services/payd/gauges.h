/* The table of payd's metrics, by number. */
#ifndef PAYD_GAUGES_H
#define PAYD_GAUGES_H

#include "libcommon/metrics.h"

enum gauges {
    GAUGES_HEAD,
    GAUGES_CURSOR,
    GAUGES_LAG,
    GAUGES_BLOCKS,
    GAUGES_REORGS,
    GAUGES_REORG_DEPTH,
    GAUGES_TRANSITIONS,
    GAUGES_PAYMENTS,
    GAUGES_RPC_CALLS,
    GAUGES_RPC_SECONDS,
    GAUGES_POLL_FAILURES,
    GAUGES_LEADER,
    GAUGES_EPOCH,
    GAUGES_OUTBOX,
    GAUGES_OUTBOX_AGE,
    GAUGES_HINTS,
    GAUGES_EVENTS,
    GAUGES_EVENT_OUTBOX,
    GAUGES_EVENT_OUTBOX_AGE,
    GAUGES_WALLET_BALANCE,
    GAUGES_WALLET_NONCE,
    GAUGES_WALLET_JOBS,
    GAUGES_WALLET_OLDEST,
    GAUGES_WALLET_TRANSACTIONS,
    GAUGES_WALLET_WAITING,
    GAUGES_REQUESTS,
    GAUGES_HTTP,
    GAUGES_TRANSFERS,
    GAUGES_TRANSFER_TRANSITIONS,
    GAUGES_TRANSFERS_UNRECORDED,
    GAUGES_ENDPOINT_UP,
    GAUGES_ENDPOINT_HEAD,
    GAUGES_ENDPOINT_LAG,
    GAUGES_ENDPOINT_BREAKER,
    GAUGES_DISAGREEMENT,
    GAUGES_AWAY,
    GAUGES_LOOKED,
    GAUGES_LATE,
    GAUGES_OMISSION,
    GAUGES_COUNT
};

extern const struct metric_desc gauges_table[GAUGES_COUNT];

/* Counts a call to a node; `metrics` is a struct metrics (rpc.h, observe). */
void gauges_call(void *metrics, const char *endpoint, const char *method, const char *result,
                 double seconds);

#endif
