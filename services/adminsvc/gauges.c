/* adminsvc's metrics as one table; the reference page in docs/ is made of it. */
#include "services/adminsvc/gauges.h"

const struct metric_desc gauges_table[GAUGES_COUNT] = {
    [GAUGES_CALLS] = {"octroi_adminsvc_http_requests_total",
                      METRIC_COUNTER,
                      "HTTP requests by route and status class",
                      {"route", "class"},
                      0},
    [GAUGES_SECONDS] =
        {"octroi_adminsvc_http_seconds", METRIC_HISTOGRAM, "time of an answer", {"route"}, 0},
    [GAUGES_FAILURES] = {"octroi_adminsvc_auth_failures_total",
                         METRIC_COUNTER,
                         "calls without a valid key",
                         {0},
                         0},
    [GAUGES_AUDIT_LOST] = {"octroi_adminsvc_audit_failures_total",
                           METRIC_COUNTER,
                           "rows of the audit log that could not be written; the call was refused",
                           {0},
                           0},
};
