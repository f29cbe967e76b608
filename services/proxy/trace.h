/* W3C trace context (https://www.w3.org/TR/trace-context/): which trace a request belongs to. A
 * client's traceparent and tracestate are believed as the configuration says (`traceparent`), else
 * they do not reach the origin. Where spans are exported, the proxy is a span of its own in the
 * trace, and one that a client did not begin is begun here. */
#ifndef PROXY_TRACE_H
#define PROXY_TRACE_H

#include <h2o.h>
#include <stdbool.h>

#define TRACE_ID      32
#define TRACE_SPAN_ID 16

struct exchange;
struct head_writer;

/* Lower-case hex, not terminated. */
struct trace {
    char id[TRACE_ID];
    char parent[TRACE_SPAN_ID]; /* the client's span, where `accepted` */
    char span[TRACE_SPAN_ID];   /* ours, where `spans` */
    char child[TRACE_SPAN_ID];  /* of the last attempt at an origin, where `spans` */
    bool known;                 /* there is an id */
    bool accepted, sampled;
    bool spans; /* the exporter runs */
};

/* Version 00 alone, strictly. -1: it is none; *out is unchanged. */
int trace_parse(h2o_iovec_t text, struct trace *out) __attribute__((warn_unused_result));

/* In admit, once it is known whom to trust. */
void trace_begin(struct exchange *exchange);
/* Keeps from the origin what was not believed, or is about to be said anew. */
void trace_drop(struct exchange *exchange);
/* The line for the origin, with a new child span for each attempt; nothing where the client's own
 * passes. */
void trace_forward(struct exchange *exchange, struct head_writer *writer);

#endif
