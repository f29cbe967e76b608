/* The room that finds the route of a request, answers where it redirects, and sets the bound of its
 * body. */
#include "services/proxy/exchange.h"

#include <string.h>

static enum room_result redirect(struct exchange *exchange, const struct route *route)
{
    struct head_writer writer = head_begin(exchange->request.worker);
    head_puts(&writer, "Location: ");
    head_add(&writer, route->redirect.to.base, route->redirect.to.len);
    if (route->redirect.append) {
        head_add(&writer, exchange->path.base, exchange->path.len);
        head_add(&writer, exchange->query.base, exchange->query.len);
    }
    head_puts(&writer, "\r\n");
    h2o_iovec_t lines = {NULL, (size_t)(writer.at - writer.start)};
    lines.base = h2o_mem_alloc_pool(&exchange->request.pool, lines.len);
    memcpy(lines.base, writer.start, lines.len);
    exchange_answer(exchange, route->redirect.status, lines, h2o_iovec_init(NULL, 0));
    return ROOM_DONE;
}

static enum room_result enter(struct request *request)
{
    struct exchange *exchange = request->exchange;
    const struct route *route =
        route_match(exchange->generation->routes, exchange->host,
                    exchange->path.base[0] == '*' ? h2o_iovec_init("/", 1) : exchange->path);
    if (!route) {
        request_refuse(request, PROBLEM_NOT_FOUND, "no route matches this host and path");
        return ROOM_REJECT;
    }
    request->route = route;
    if (!route->pool)
        return redirect(exchange, route);
    exchange->body_limit = (uint64_t)route->body_bytes;
    if (exchange->body_limit && exchange->body == BODY_LENGTH &&
        exchange->body_length > exchange->body_limit) {
        request_refuse(request, PROBLEM_BODY_TOO_LARGE, "at most %lld bytes are accepted here",
                       (long long)route->body_bytes);
        return ROOM_REJECT;
    }
    return ROOM_NEXT;
}

const struct room room_route = {.name = "route", .enter = enter};
