/* The room that finds the route of a request, answers where the route does so by itself (a
 * redirection, a fixed answer, a browser's preflight), and sets the bound of the body. */
#include "services/proxy/handshake.h"
#include "services/proxy/ip_rate.h"

#include <stdio.h>
#include <string.h>

#define SECOND    1000000000LL
#define HOPS_MAX  999999999
#define HOPS_TEXT 12

/* Answers with a Location of these parts. */
static enum room_result move(struct exchange *exchange, unsigned status, const h2o_iovec_t *parts,
                             size_t count)
{
    struct head_writer writer = head_begin(exchange->request.worker);
    head_puts(&writer, "Location: ");
    for (size_t i = 0; i < count; i++)
        head_add(&writer, parts[i].base, parts[i].len);
    head_puts(&writer, "\r\n");
    h2o_iovec_t lines = {NULL, (size_t)(writer.at - writer.start)};
    lines.base = h2o_mem_alloc_pool(&exchange->request.pool, lines.len);
    memcpy(lines.base, writer.start, lines.len);
    exchange_answer(exchange, status, lines, h2o_iovec_init(NULL, 0));
    return ROOM_DONE;
}

static h2o_iovec_t path_of(const struct exchange *exchange)
{
    return exchange->path.base[0] == '*' ? h2o_iovec_init("/", 1) : exchange->path;
}

static enum room_result redirect(struct exchange *exchange, const struct route *route)
{
    const h2o_iovec_t parts[] = {route->redirect.to, path_of(exchange), exchange->query};
    return move(exchange, route->redirect.status, parts, route->redirect.append ? 3 : 1);
}

static enum room_result to_https(struct exchange *exchange)
{
    const h2o_iovec_t parts[] = {h2o_iovec_init(H2O_STRLIT("https://")), exchange->host,
                                 path_of(exchange), exchange->query};
    if (exchange->host.len)
        return move(exchange, 308, parts, 4);
    request_refuse(&exchange->request, PROBLEM_BAD_REQUEST, "only https is served here");
    return ROOM_REJECT;
}

static enum room_result respond(struct exchange *exchange, const struct route *route)
{
    exchange_answer(exchange, route->respond.status, route->respond.lines, route->respond.body);
    return ROOM_DONE;
}

/* Before auth: browsers send it without credentials. */
static enum room_result answer_preflight(struct exchange *exchange)
{
    exchange->preflight = true;
    exchange_answer(exchange, 204, h2o_iovec_init(NULL, 0), h2o_iovec_init(NULL, 0));
    return ROOM_DONE;
}

static enum room_result bound_body(struct exchange *exchange, const struct route *route)
{
    exchange->body_limit = (uint64_t)route->body_bytes;
    if (!exchange->body_limit || exchange->body != BODY_LENGTH ||
        exchange->body_length <= exchange->body_limit)
        return ROOM_NEXT;
    request_refuse(&exchange->request, PROBLEM_BODY_TOO_LARGE,
                   "at most %lld bytes are accepted here", (long long)route->body_bytes);
    return ROOM_REJECT;
}

/* uri_bytes holds for what origins see too. */
static enum room_result bound_target(struct exchange *exchange, const struct route *route)
{
    h2o_iovec_t path[2];
    route_path(route, exchange->path, path);
    if (path[0].len == 0 || path[0].len + path[1].len + exchange->query.len <=
                                (size_t)exchange->generation->config->limits.uri_bytes)
        return bound_body(exchange, route);
    request_refuse(&exchange->request, PROBLEM_URI_TOO_LONG, NULL);
    return ROOM_REJECT;
}

static bool take_rate(struct request *request, uint64_t scope, int64_t rate, int64_t burst)
{
    struct ip_rate *table = request->worker->priv->proxy->ip_rate;
    int64_t retry_ns;
    if (rate <= 0 || ip_rate_take(table, &request->exchange->client, scope, rate, burst,
                                  request->worker->now_ns, &retry_ns))
        return true;
    request->retry_after_s = (retry_ns + SECOND - 1) / SECOND;
    request->rate = rate;
    request_refuse(request, PROBLEM_RATE_EXCEEDED,
                   "%lld requests a second of one address are allowed", (long long)rate);
    return false;
}

/* What matches no route counts too: searching is not free of charge. */
static bool within_rates(struct request *request, const struct route *route)
{
    const struct limits_config *limits = &request->exchange->generation->config->limits;
    return take_rate(request, 0, limits->rate_per_ip, limits->burst_per_ip) &&
           (!route || take_rate(request, route->scope, route->rate_per_ip, route->burst_per_ip));
}

/* Some origins cut parameters off (/v1;x/a is /v1/a to them, RFC 3986 section 3.3), others do not:
 * where that decides which route is meant, nobody may say so by a parameter. */
static bool ambiguous(struct exchange *exchange, const struct route *route)
{
    h2o_iovec_t path = path_of(exchange), bare;
    if (!memchr(path.base, ';', path.len))
        return false;
    bare = h2o_iovec_init(h2o_mem_alloc_pool(&exchange->request.pool, path.len), 0);
    for (size_t i = 0; i < path.len; i++) {
        while (i < path.len && path.base[i] == ';')
            while (++i < path.len && path.base[i] != '/')
                ;
        bool empty =
            i < path.len && path.base[i] == '/' && bare.len && bare.base[bare.len - 1] == '/';
        if (i < path.len && !empty)
            bare.base[bare.len++] = path.base[i];
    }
    return route_match(exchange->generation->routes, exchange->host, bare) != route;
}

/* The number of a Max-Forwards; -1: it is none. Of more than 9 digits: the most that is meant. */
static int64_t read_hops(h2o_iovec_t value)
{
    int64_t hops = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.base[i] < '0' || value.base[i] > '9')
            return -1;
        if (hops < HOPS_MAX)
            hops = hops * 10 + (value.base[i] - '0');
    }
    return value.len == 0 ? -1 : hops < HOPS_MAX ? hops : HOPS_MAX;
}

/* OPTIONS asks whoever is so many hops away (RFC 9110 section 7.6.2): it is answered here, or goes
 * on with one less. TRACE is refused anyway, and of other methods it means nothing. */
static enum room_result count_hops(struct request *request)
{
    size_t count;
    h2o_iovec_t value = request_header(request, "max-forwards", &count);
    int64_t hops = count == 1 ? read_hops(value) : -1;
    if (count == 0)
        return ROOM_NEXT;
    if (hops < 0) {
        request_refuse(request, PROBLEM_BAD_REQUEST, "Max-Forwards is not one number");
        return ROOM_REJECT;
    }
    if (hops == 0) {
        exchange_answer(request->exchange, 204, h2o_iovec_init(NULL, 0), h2o_iovec_init(NULL, 0));
        return ROOM_DONE;
    }
    char *text = h2o_mem_alloc_pool(&request->pool, HOPS_TEXT);
    size_t len = (size_t)snprintf(text, HOPS_TEXT, "%lld", (long long)hops - 1);
    request_add_upstream_header(request, "Max-Forwards", h2o_iovec_init(text, len));
    return ROOM_NEXT;
}

static enum room_result enter(struct request *request)
{
    struct exchange *exchange = request->exchange;
    const struct route *route =
        route_match(exchange->generation->routes, exchange->host, path_of(exchange));
    if (ambiguous(exchange, route)) {
        request_refuse(request, PROBLEM_BAD_REQUEST,
                       "a parameter in the path leaves open which route is meant");
        return ROOM_REJECT;
    }
    request->route = route;
    if (!within_rates(request, route))
        return ROOM_REJECT;
    if (!route) {
        request_refuse(request, PROBLEM_NOT_FOUND, "no route matches this host and path");
        return ROOM_REJECT;
    }
    if (route->https_only && !exchange->secure)
        return to_https(exchange);
    if (route->cors && cors_is_preflight(request))
        return answer_preflight(exchange);
    if (route->redirect.status)
        return redirect(exchange, route);
    if (route->respond.status)
        return respond(exchange, route);
    if (handshake_begin(exchange))
        return ROOM_REJECT;
    if (h2o_memis(exchange->method.base, exchange->method.len, "OPTIONS", 7)) {
        enum room_result result = count_hops(request);
        if (result != ROOM_NEXT)
            return result;
    }
    if (route->access == ROUTE_SUBSCRIPTION && route->protocols & PROTOCOL_SSE)
        request_drop_header(request, "accept-encoding"); /* events are counted as they pass */
    return bound_target(exchange, route);
}

const struct room room_route = {.name = "route", .enter = enter};
