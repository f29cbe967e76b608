/* Spans to a collector by OTLP over HTTP with JSON (https://opentelemetry.io/docs/specs/otlp/), as
 * the environment says: OTEL_EXPORTER_OTLP_ENDPOINT or _TRACES_ENDPOINT (without one of them there
 * is no exporter), _HEADERS, _TIMEOUT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER_ARG,
 * OTEL_SDK_DISABLED. A loop hands a span over and never waits; what the collector does not take in
 * time is dropped and counted. */
#ifndef PROXY_OTLP_H
#define PROXY_OTLP_H

#include "libcommon/err.h"

#include <stdint.h>

struct exchange;
struct otlp;

/* *out is NULL where the environment names no collector. */
int otlp_new(struct otlp **out, struct err *err) MUST_USE;
/* Sends what is left, for about a second. */
void otlp_free(struct otlp **otlp);
/* Share of the traces that are begun here which is sampled. */
double otlp_ratio(const struct otlp *otlp);
/* On the worker's thread, once for an exchange that is over: a span for it, and one for its last
 * attempt at an origin. */
void otlp_record(const struct exchange *exchange);

/* Spans since the start. Any thread. */
struct otlp_counts {
    uint64_t sent, failed, dropped;
};

struct otlp_counts otlp_counts(const struct otlp *otlp);

#endif
