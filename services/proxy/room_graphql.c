/* The room that reads a GraphQL request before anything is taken for it, and refuses what weighs
 * more than its route allows. The body is kept, and goes to the origin as it came. */
#include "services/proxy/exchange.h"
#include "services/proxy/graphql.h"

#include <string.h>

#define BODY_MAX (128 * 1024)

static enum room_result refuse(struct request *request, enum problem problem, const char *detail)
{
    request_refuse(request, problem, "%s", detail);
    return ROOM_REJECT;
}

static enum room_result judge(struct request *request, const struct graphql_weight *weight)
{
    const struct graphql_config *limits = request->route->graphql;
    if (weight->cost > limits->max_cost) {
        request_refuse(request, PROBLEM_QUERY_TOO_COMPLEX, "it weighs %lld, and %lld is allowed",
                       (long long)weight->cost, (long long)limits->max_cost);
        return ROOM_REJECT;
    }
    if (weight->depth > (uint64_t)limits->max_depth) {
        request_refuse(request, PROBLEM_QUERY_TOO_COMPLEX, "it is %u deep, and %lld is allowed",
                       weight->depth, (long long)limits->max_depth);
        return ROOM_REJECT;
    }
    request->cost.weight = weight->cost;
    return ROOM_NEXT;
}

static h2o_iovec_t query_of(const struct request *request)
{
    h2o_iovec_t query = request->exchange->query;
    if (query.len && query.base[0] == '?')
        query = h2o_iovec_init(query.base + 1, query.len - 1);
    return query;
}

static enum room_result weigh_query(struct request *request)
{
    struct graphql_weight weight;
    struct err err;
    h2o_iovec_t query = query_of(request);
    if (graphql_weigh_query(query.base, query.len, &weight, &err))
        return refuse(request, PROBLEM_BAD_REQUEST, err.msg);
    return judge(request, &weight);
}

static enum room_result weigh_body(struct request *request)
{
    struct exchange *exchange = request->exchange;
    struct graphql_weight weight;
    struct err err;
    AUTO_JSON json_t *json = NULL;
    replay_rewind(exchange);
    if (json_parse(exchange->replay.data ? exchange->replay.data : "", exchange->replay.len, &json,
                   &err))
        return refuse(request, PROBLEM_BAD_REQUEST, err.msg);
    if (graphql_weigh_request(json, &weight, &err))
        return refuse(request, PROBLEM_BAD_REQUEST, err.msg);
    return judge(request, &weight);
}

static enum room_result collect(struct request *request)
{
    struct exchange *exchange = request->exchange;
    for (;;) {
        struct piece piece = {.len = 0};
        int result = replay_pull(exchange, &piece);
        if (result < 0)
            return ROOM_REJECT;
        if (result == 0)
            return ROOM_WAIT;
        if (!exchange->replay.keeping) {
            request_refuse(request, PROBLEM_BODY_TOO_LARGE, "a GraphQL request holds %d bytes",
                           BODY_MAX);
            return ROOM_REJECT;
        }
        if (piece.end)
            return weigh_body(request);
    }
}

static void more(struct exchange *exchange)
{
    enum room_result result = collect(&exchange->request);
    if (result == ROOM_WAIT)
        return;
    exchange->collect = NULL;
    request_resume(&exchange->request, result);
}

/* The body is needed here: the client is not kept waiting for the origin's word. */
static void invite(struct exchange *exchange)
{
    if (!exchange->head.expect_continue)
        return;
    exchange->head.expect_continue = false;
    request_drop_header(&exchange->request, "expect");
    exchange_interim(exchange, &(struct response){.status = 100});
}

static h2o_iovec_t trim(h2o_iovec_t text)
{
    while (text.len && strchr(" \t", text.base[0]))
        text = h2o_iovec_init(text.base + 1, text.len - 1);
    while (text.len && strchr(" \t", text.base[text.len - 1]))
        text.len--;
    return text;
}

static bool starts(h2o_iovec_t text, const char *with, size_t len)
{
    return text.len >= len && h2o_lcstris(text.base, len, with, len);
}

/* JSON in UTF-8: what is weighed in another encoding than it is read in, is another request. */
static bool is_json(h2o_iovec_t type)
{
    bool first = true;
    while (type.len || first) {
        const char *semicolon = type.len ? memchr(type.base, ';', type.len) : NULL;
        size_t len = semicolon ? (size_t)(semicolon - type.base) : type.len;
        h2o_iovec_t part = trim(h2o_iovec_init(type.base, len));
        size_t used = semicolon ? len + 1 : len;
        if (first && (part.len != 16 || !starts(part, H2O_STRLIT("application/json"))))
            return false;
        if (starts(part, H2O_STRLIT("charset")) &&
            !(part.len == 13 && starts(part, H2O_STRLIT("charset=utf-8"))) &&
            !(part.len == 15 && starts(part, H2O_STRLIT("charset=\"utf-8\""))))
            return false;
        type = h2o_iovec_init(type.base + used, type.len - used);
        first = false;
    }
    return true;
}

static enum room_result take_body(struct request *request)
{
    struct exchange *exchange = request->exchange;
    struct err err;
    size_t types, codings;
    h2o_iovec_t type = request_header(request, "content-type", &types);
    request_header(request, "content-encoding", &codings);
    if (types != 1 || !is_json(type) || codings)
        return refuse(request, PROBLEM_UNSUPPORTED_MEDIA_TYPE,
                      "a GraphQL request is application/json in UTF-8, without a coding");
    h2o_iovec_t query = query_of(request);
    if (graphql_check_beside(query.base, query.len, &err))
        return refuse(request, PROBLEM_BAD_REQUEST, err.msg);
    if (exchange->body == BODY_NONE)
        return refuse(request, PROBLEM_BAD_REQUEST, "a GraphQL request has a body");
    replay_begin(exchange, BODY_MAX);
    if (!exchange->replay.keeping) {
        request_refuse(request, PROBLEM_BODY_TOO_LARGE, "a GraphQL request holds %d bytes",
                       BODY_MAX);
        return ROOM_REJECT;
    }
    invite(exchange);
    enum room_result result = collect(request);
    if (result == ROOM_WAIT)
        exchange->collect = more;
    return result;
}

static enum room_result enter(struct request *request)
{
    const struct exchange *exchange = request->exchange;
    if (!request->route->graphql ||
        h2o_memis(exchange->method.base, exchange->method.len, H2O_STRLIT("OPTIONS")))
        return ROOM_NEXT;
    if (h2o_memis(exchange->method.base, exchange->method.len, H2O_STRLIT("POST")))
        return take_body(request);
    if (exchange->is_head ||
        h2o_memis(exchange->method.base, exchange->method.len, H2O_STRLIT("GET")))
        return exchange->body == BODY_NONE
                   ? weigh_query(request)
                   : refuse(request, PROBLEM_BAD_REQUEST, "a query by GET has no body");
    return refuse(request, PROBLEM_METHOD_NOT_ALLOWED, "GraphQL is sent by POST or GET");
}

static void leave(struct request *request)
{
    request->exchange->collect = NULL;
}

const struct room room_graphql = {.name = "graphql", .enter = enter, .leave = leave};
