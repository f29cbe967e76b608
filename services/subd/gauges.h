/* subd's metrics: one row of the table each. */
#ifndef SUBD_GAUGES_H
#define SUBD_GAUGES_H

#include "libcommon/metrics.h"

enum gauges {
    GAUGES_TRANSITIONS,
    GAUGES_ACTIVATIONS,
    GAUGES_CHANGES,
    GAUGES_HEAD,
    GAUGES_LEASES,
    GAUGES_LEASE_SECONDS,
    GAUGES_BATCHES,
    GAUGES_ENTRIES,
    GAUGES_ALERTS,
    GAUGES_TOKENS,
    GAUGES_HTTP,
    GAUGES_HTTP_SECONDS,
    GAUGES_COUNT
};

extern const struct metric_desc gauges_table[GAUGES_COUNT];

#endif
