/* Owns the ids of a request's trace: taken from the client, or made. */
#include "services/proxy/trace.h"

#include "services/proxy/exchange.h"
#include "services/proxy/otlp.h"

#include <string.h>

#define TRACEPARENT 55 /* 00-<32>-<16>-<2> */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Of lower-case hex, and not all zero. */
static bool valid_id(const char *text, size_t len)
{
    bool zero = true;
    for (size_t i = 0; i < len; i++) {
        if (hex_digit(text[i]) < 0)
            return false;
        zero = zero && text[i] == '0';
    }
    return !zero;
}

int trace_parse(h2o_iovec_t text, struct trace *out)
{
    const char *at = text.base;
    if (text.len != TRACEPARENT || memcmp(at, "00-", 3) != 0 || at[35] != '-' || at[52] != '-')
        return -1;
    if (!valid_id(at + 3, TRACE_ID) || !valid_id(at + 36, TRACE_SPAN_ID) || hex_digit(at[53]) < 0 ||
        hex_digit(at[54]) < 0)
        return -1;
    memcpy(out->id, at + 3, TRACE_ID);
    memcpy(out->parent, at + 36, TRACE_SPAN_ID);
    out->sampled = hex_digit(at[54]) & 1;
    out->known = out->accepted = true;
    return 0;
}

static void make_id(struct worker *worker, char *out, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t word = 0; word < len; word += 16) {
        uint64_t random = worker_random(worker) | 1;
        for (size_t i = 0; i < 16; i++, random >>= 4)
            out[word + i] = digits[random & 15];
    }
}

static void accept_context(struct exchange *exchange)
{
    bool always = exchange->generation->config->traceparent == TRACEPARENT_ALWAYS;
    const struct http1_head *head = &exchange->head;
    if (head->seen[NAME_TRACEPARENT] != 1 || !(always || exchange->trusted))
        return;
    if (trace_parse(http1_value(head, http1_find(head, NAME_TRACEPARENT)), &exchange->trace))
        exchange->trace.accepted = false;
}

void trace_begin(struct exchange *exchange)
{
    struct trace *trace = &exchange->trace;
    struct worker *worker = exchange->request.worker;
    const struct otlp *otlp = worker->priv->proxy->otlp;
    if (exchange->head.seen[NAME_TRACEPARENT])
        accept_context(exchange);
    if (!otlp)
        return;
    trace->spans = true;
    make_id(worker, trace->span, TRACE_SPAN_ID);
    if (trace->known)
        return;
    make_id(worker, trace->id, TRACE_ID);
    trace->sampled = (double)(worker_random(worker) >> 11) * 0x1p-53 < otlp_ratio(otlp);
    trace->known = true;
}

static void drop(struct http1_head *head, enum http1_name name)
{
    for (size_t i = 0; head->seen[name] && i < head->count; i++)
        if (head->fields[i].id == name)
            head->fields[i].dropped = true;
}

void trace_drop(struct exchange *exchange)
{
    const struct trace *trace = &exchange->trace;
    if (!trace->accepted || trace->spans)
        drop(&exchange->head, NAME_TRACEPARENT);
    if (!trace->accepted)
        drop(&exchange->head, NAME_TRACESTATE);
}

void trace_forward(struct exchange *exchange, struct head_writer *writer)
{
    struct trace *trace = &exchange->trace;
    if (!trace->spans)
        return;
    make_id(exchange->request.worker, trace->child, TRACE_SPAN_ID);
    head_puts(writer, "traceparent: 00-");
    head_add(writer, trace->id, TRACE_ID);
    head_add(writer, "-", 1);
    head_add(writer, trace->child, TRACE_SPAN_ID);
    head_puts(writer, trace->sampled ? "-01\r\n" : "-00\r\n");
}
