/* The table of quoted's metrics, by number. */
#ifndef QUOTED_GAUGES_H
#define QUOTED_GAUGES_H

#include "libcommon/metrics.h"

enum gauges {
    GAUGES_HTTP,
    GAUGES_HTTP_SECONDS,
    GAUGES_QUOTES,
    GAUGES_REFUSALS,
    GAUGES_BOOKS,
    GAUGES_SELLING,
    GAUGES_SIGNER_MISMATCH,
    GAUGES_KEPT,
    GAUGES_COUNT
};

extern const struct metric_desc gauges_table[GAUGES_COUNT];

#endif
