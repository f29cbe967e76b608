/* The table of adminsvc's metrics, by number. */
#ifndef ADMINSVC_GAUGES_H
#define ADMINSVC_GAUGES_H

#include "libcommon/metrics.h"

enum gauges { GAUGES_CALLS, GAUGES_SECONDS, GAUGES_FAILURES, GAUGES_AUDIT_LOST, GAUGES_COUNT };

extern const struct metric_desc gauges_table[GAUGES_COUNT];

#endif
