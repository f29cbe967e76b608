/* Owns the text of spans. */
#include "services/proxy/otlp_span.h"

#include "libcommon/log_line.h"
#include "services/proxy/exchange.h"
#include "services/proxy/route.h"

#include <stdio.h>
#include <string.h>

#define TEXT(line, literal) log_line_put((line), (literal), sizeof(literal) - 1)
#define TAIL                140 /* what may follow the path */

enum span_kind { SPAN_SERVER = 2, SPAN_CLIENT = 3 };

/* The text of an attribute that a client chose the length of. */
static h2o_iovec_t cut(h2o_iovec_t text, size_t most)
{
    return h2o_iovec_init(text.base, text.len < most ? text.len : most);
}

static void attribute(struct log_line *line, const char *key, h2o_iovec_t value)
{
    if (!value.len)
        return;
    TEXT(line, "{\"key\":\"");
    log_line_puts(line, key);
    TEXT(line, "\",\"value\":{\"stringValue\":");
    log_line_string(line, value.base, value.len);
    TEXT(line, "}},");
}

static void attribute_text(struct log_line *line, const char *key, const char *value)
{
    if (value)
        attribute(line, key, h2o_iovec_init(value, strlen(value)));
}

static void attribute_number(struct log_line *line, const char *key, uint64_t value)
{
    TEXT(line, "{\"key\":\"");
    log_line_puts(line, key);
    TEXT(line, "\",\"value\":{\"intValue\":\"");
    log_line_uint(line, value);
    TEXT(line, "\"}},");
}

/* As much of it as there is place for. */
static void attribute_path(struct log_line *line, h2o_iovec_t path, size_t size)
{
    if (line->len + 2 * TAIL > size)
        return;
    TEXT(line, "{\"key\":\"url.path\",\"value\":{\"stringValue\":");
    line->room = size - TAIL;
    log_line_string(line, path.base, path.len);
    line->room = size;
    TEXT(line, "}},");
}

static h2o_iovec_t method_of(const struct exchange *exchange)
{
    if (exchange->method_id == STATS_METHOD_OTHER)
        return h2o_iovec_init(H2O_STRLIT("_OTHER"));
    return exchange->method;
}

static const char *version_of(const struct exchange *exchange)
{
    if (exchange->http2)
        return "2";
    return exchange->head.minor ? "1.1" : "1.0";
}

static void open_span(struct log_line *line, const struct exchange *exchange, enum span_kind kind,
                      const char *id, const char *parent, int64_t start_ns)
{
    const struct worker *worker = exchange->request.worker;
    const struct route *route = exchange->request.route;
    uint64_t now = (uint64_t)worker->wall_ms * 1000000;
    char name[80] = "HTTP";
    if (exchange->method.len) {
        h2o_iovec_t method = method_of(exchange);
        const char *target = route && kind == SPAN_SERVER ? route->name : "";
        snprintf(name, sizeof(name), "%.*s%s%s", (int)method.len, method.base, *target ? " " : "",
                 target);
    }
    TEXT(line, "{\"traceId\":\"");
    log_line_put(line, exchange->trace.id, TRACE_ID);
    TEXT(line, "\",\"spanId\":\"");
    log_line_put(line, id, TRACE_SPAN_ID);
    TEXT(line, "\",");
    if (parent) {
        TEXT(line, "\"parentSpanId\":\"");
        log_line_put(line, parent, TRACE_SPAN_ID);
        TEXT(line, "\",");
    }
    TEXT(line, "\"name\":");
    log_line_string(line, name, strlen(name));
    TEXT(line, ",\"kind\":");
    log_line_uint(line, kind);
    TEXT(line, ",\"startTimeUnixNano\":\"");
    log_line_uint(line, now - (uint64_t)(worker->now_ns - start_ns));
    TEXT(line, "\",\"endTimeUnixNano\":\"");
    log_line_uint(line, now);
    TEXT(line, "\",\"attributes\":[");
    attribute(line, "http.request.method", method_of(exchange));
}

/* The last attribute has no comma behind it. */
static void close_span(struct log_line *line, const struct exchange *exchange, bool failed)
{
    enum problem problem = exchange->request.problem;
    if (failed)
        attribute_text(line, "error.type", problem ? problem_get(problem)->name : "http-status");
    line->len--;
    TEXT(line, "],\"status\":{");
    if (failed)
        TEXT(line, "\"code\":2");
    TEXT(line, "}}");
}

size_t otlp_span_server(const struct exchange *exchange, char *out, size_t size)
{
    const struct request *request = &exchange->request;
    const struct trace *trace = &exchange->trace;
    struct log_line line = {.data = out, .room = size};
    char client[64];
    client[address_text(&exchange->client, client)] = '\0';
    open_span(&line, exchange, SPAN_SERVER, trace->span, trace->accepted ? trace->parent : NULL,
              exchange->start_ns);
    attribute_text(&line, "url.scheme", exchange->tls ? "https" : "http");
    attribute_text(&line, "client.address", client);
    attribute_text(&line, "network.protocol.version", version_of(exchange));
    attribute_text(&line, "octroi.request_id", exchange->id_text);
    if (request->route)
        attribute(&line, "http.route",
                  cut(h2o_iovec_init(request->route->name, strlen(request->route->name)), 128));
    attribute_number(&line, "http.response.status_code", exchange->status);
    attribute_number(&line, "http.request.body.size", request->meter.bytes_in);
    attribute_number(&line, "http.response.body.size", request->meter.bytes_out);
    attribute(&line, "server.address", cut(exchange->host, 64));
    attribute_path(&line, exchange->path, size);
    close_span(&line, exchange, exchange->status >= 500 || exchange->gone);
    return line.len;
}

size_t otlp_span_client(const struct exchange *exchange, char *out, size_t size)
{
    const struct request *request = &exchange->request;
    struct log_line line = {.data = out, .room = size};
    open_span(&line, exchange, SPAN_CLIENT, exchange->trace.child, exchange->trace.span,
              exchange->attempt_ns);
    if (exchange->backend)
        attribute(&line, "server.address", cut(exchange->backend->authority, 128));
    if (request->route && request->route->pool)
        attribute_text(&line, "octroi.pool", request->route->pool->name);
    if (exchange->head_ns >= 0)
        attribute_number(&line, "http.response.status_code", exchange->status);
    if (exchange->attempts > 1)
        attribute_number(&line, "http.request.resend_count", exchange->attempts - 1);
    close_span(&line, exchange, request->problem != PROBLEM_NONE || exchange->status >= 400);
    return line.len;
}
