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
    GAUGES_REQUESTS,
    GAUGES_HTTP,
    GAUGES_COUNT
};

extern const struct metric_desc gauges_table[GAUGES_COUNT];

#endif
