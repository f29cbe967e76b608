/* What an answer tells about its way through the proxy, where expose_debug_headers is on: for
 * developers, not for the public, since it names backends. Times stand in Server-Timing
 * (https://www.w3.org/TR/server-timing/), which browsers draw. */
#include "services/proxy/exchange.h"
#include "services/proxy/route.h"

#include "libcommon/log_line.h"

#include <string.h>

static void add(struct exchange *exchange, const char *name, h2o_iovec_t value)
{
    if (value.len && header_value_valid(value.base))
        request_add_response_header(&exchange->request, name, value);
}

static h2o_iovec_t copy(struct exchange *exchange, const char *text, size_t len)
{
    return h2o_strdup(&exchange->request.pool, text, len);
}

/* "proxy;dur=1.234, connect;dur=0.300, origin;dur=0.900": milliseconds up to now. */
static h2o_iovec_t timing(struct exchange *exchange)
{
    char text[128];
    struct log_line line = {.data = text, .room = sizeof(text)};
    log_line_puts(&line, "proxy;dur=");
    log_line_ms(&line, exchange->request.worker->now_ns - exchange->start_ns);
    if (exchange->connect_ns >= 0) {
        log_line_puts(&line, ", connect;dur=");
        log_line_ms(&line, exchange->connect_ns);
    }
    if (exchange->head_ns >= 0) {
        log_line_puts(&line, ", origin;dur=");
        log_line_ms(&line, exchange->head_ns);
    }
    return copy(exchange, text, line.len);
}

void debug_headers(struct exchange *exchange)
{
    if (!exchange->generation->config->expose_debug_headers)
        return;
    const struct route *route = exchange->request.route;
    char text[20];
    struct log_line attempts = {.data = text, .room = sizeof(text)};
    if (route)
        add(exchange, "X-Octroi-Route", copy(exchange, route->name, strlen(route->name)));
    if (route && route->pool)
        add(exchange, "X-Octroi-Pool",
            copy(exchange, route->pool->name, strlen(route->pool->name)));
    if (exchange->backend)
        add(exchange, "X-Octroi-Backend", exchange->backend->authority);
    log_line_uint(&attempts, exchange->attempts);
    add(exchange, "X-Octroi-Attempts", copy(exchange, text, attempts.len));
    add(exchange, "Server-Timing", timing(exchange));
}
