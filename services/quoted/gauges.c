/* quoted's metrics as one table; the reference page in docs/ is made of it. */
#include "services/quoted/gauges.h"

const struct metric_desc gauges_table[GAUGES_COUNT] = {
    [GAUGES_HTTP] = {"octroi_quoted_http_requests_total",
                     METRIC_COUNTER,
                     "HTTP requests by route and status class",
                     {"route", "class"},
                     0},
    [GAUGES_HTTP_SECONDS] =
        {"octroi_quoted_http_seconds", METRIC_HISTOGRAM, "time of an answer", {"route"}, 0},
    [GAUGES_QUOTES] = {"octroi_quoted_quotes_total",
                       METRIC_COUNTER,
                       "quotes that were signed, by tier and kind",
                       {"tier", "kind"},
                       0},
    [GAUGES_REFUSALS] = {"octroi_quoted_refusals_total",
                         METRIC_COUNTER,
                         "quotes that were refused, by problem",
                         {"problem"},
                         0},
    [GAUGES_BOOKS] = {"octroi_quoted_price_books_total",
                      METRIC_COUNTER,
                      "price books that came into force",
                      {0},
                      0},
};
