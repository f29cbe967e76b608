/* The life of an exchange: it walks the rooms, is parked and resumed, and leaves every room that it
 * entered exactly once, whatever ends it. */
#include "services/proxy/request.h"

#include "libcommon/mem.h"
#include "services/proxy/access_log.h"
#include "services/proxy/exchange.h"
#include "services/proxy/otlp.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SPARE_MAX 256

static void walk(struct exchange *exchange);

struct exchange *exchange_new(struct worker *worker, const struct downstream_ops *ops,
                              void *downstream)
{
    struct worker_private *priv = worker->priv;
    struct exchange *exchange = priv->spare;
    if (exchange) {
        priv->spare = exchange->next_spare;
        priv->spare_count--;
    } else {
        exchange = mem_alloc(sizeof(*exchange));
    }
    memset(exchange, 0, sizeof(*exchange));
    h2o_mem_init_pool(&exchange->request.pool);
    exchange->request.worker = worker;
    exchange->request.exchange = exchange;
    exchange->generation = priv->generation;
    exchange->live_next = priv->exchanges;
    exchange->live_link = &priv->exchanges;
    if (exchange->live_next)
        exchange->live_next->live_link = &exchange->live_next;
    priv->exchanges = exchange;
    generation_hold(exchange->generation, worker->index);
    exchange->ops = ops;
    exchange->downstream = downstream;
    exchange->start_ns = worker->now_ns;
    exchange->connect_ns = exchange->head_ns = -1;
    exchange->method = exchange->path = exchange->query = exchange->host = h2o_iovec_init("", 0);
    return exchange;
}

static void release(struct worker *worker, struct grave *grave)
{
    struct exchange *exchange = H2O_STRUCT_FROM_MEMBER(struct exchange, grave, grave);
    struct worker_private *priv = worker->priv;
    *exchange->live_link = exchange->live_next;
    if (exchange->live_next)
        exchange->live_next->live_link = exchange->live_link;
    h2o_mem_clear_pool(&exchange->request.pool);
    generation_drop(exchange->generation, worker->index);
    if (priv->spare_count == SPARE_MAX) {
        free(exchange);
        return;
    }
    exchange->next_spare = priv->spare;
    priv->spare = exchange;
    priv->spare_count++;
}

static void leave_last(struct exchange *exchange)
{
    const struct room *room = room_list[--exchange->depth];
    if (room->leave)
        room->leave(&exchange->request);
}

static void observe(const struct exchange *exchange, struct stats_route *cells)
{
    int64_t total_ns = exchange->request.worker->now_ns - exchange->start_ns;
    if (!exchange->tunnel)
        metric_observe(cells->seconds, (double)total_ns / 1e9);
    if (exchange->first_byte_ns)
        metric_observe(cells->first_byte,
                       (double)(exchange->first_byte_ns - exchange->start_ns) / 1e9);
}

static void account(struct exchange *exchange)
{
    struct request *request = &exchange->request;
    struct worker_private *priv = request->worker->priv;
    const struct route *route = request->route;
    metric_add(priv->stats.in_flight, -1);
    unsigned label = route ? route->label : STATS_LABEL_NONE;
    stats_count_request(&priv->stats, label, exchange->method_id, exchange->status);
    observe(exchange, stats_route(&priv->stats, label));
    if (request->meter.bytes_in)
        metric_add(priv->stats.bytes_in, (int64_t)request->meter.bytes_in);
    if (request->meter.bytes_out)
        metric_add(priv->stats.bytes_out, (int64_t)request->meter.bytes_out);
    if (exchange->gone)
        metric_add(priv->stats.aborts, 1);
    if (exchange->tunnel)
        metric_add(priv->stats.protocols[STATS_WEBSOCKET], -1);
    if (request->problem != PROBLEM_NONE)
        stats_count_refusal(&priv->stats, request->problem);
    access_log_write(exchange);
    otlp_record(exchange);
}

static void finish(struct exchange *exchange)
{
    if (exchange->finished)
        return;
    exchange->finished = true;
    while (exchange->depth > 0)
        leave_last(exchange);
    timer_unlink(&exchange->request.worker->priv->timers, &exchange->deadline);
    account(exchange);
    exchange->ops->done(exchange);
    worker_bury(exchange->request.worker, &exchange->grave, release);
}

static void reject(struct exchange *exchange)
{
    if (exchange->gone || exchange->finished)
        return;
    if (exchange->request.problem == PROBLEM_NONE || exchange->responded)
        exchange->ops->cut(exchange);
    else
        refusal_write(exchange);
    finish(exchange);
}

static void conclude(struct exchange *exchange, enum room_result result)
{
    switch (result) {
    case ROOM_NEXT:
        walk(exchange);
        break;
    case ROOM_WAIT:
        break;
    case ROOM_REJECT:
        reject(exchange);
        break;
    case ROOM_DONE:
        finish(exchange);
        break;
    }
}

static void walk(struct exchange *exchange)
{
    enum room_result result = ROOM_NEXT;
    exchange->walking = true;
    while (result == ROOM_NEXT && !exchange->gone && exchange->depth < room_count)
        result = room_list[exchange->depth++]->enter(&exchange->request);
    exchange->walking = false;
    if (exchange->gone)
        finish(exchange);
    else
        conclude(exchange, result == ROOM_NEXT ? ROOM_DONE : result);
}

static bool idempotent(unsigned method)
{
    return method == stats_method("GET", 3) || method == stats_method("HEAD", 4) ||
           method == stats_method("PUT", 3) || method == stats_method("DELETE", 6) ||
           method == stats_method("OPTIONS", 7);
}

void exchange_set_head(struct exchange *exchange, const struct http1_head *head)
{
    exchange->head = *head;
    exchange->method = http1_slice(head, head->method);
    exchange->method_id = stats_method(exchange->method.base, exchange->method.len);
    exchange->is_head = exchange->method_id == stats_method("HEAD", 4);
    exchange->idempotent = idempotent(exchange->method_id);
    exchange->body = head->body;
    exchange->body_length = head->content_length;
    exchange->body_ended = head->body == BODY_NONE;
}

void exchange_discard(struct exchange *exchange)
{
    worker_bury(exchange->request.worker, &exchange->grave, release);
}

void exchange_start(struct exchange *exchange)
{
    metric_add(exchange->request.worker->priv->stats.in_flight, 1);
    walk(exchange);
}

void exchange_gone(struct exchange *exchange)
{
    if (exchange->finished)
        return;
    exchange->gone = true;
    if (!exchange->walking)
        finish(exchange);
}

void request_resume(struct request *request, enum room_result result)
{
    struct exchange *exchange = request->exchange;
    assert(!exchange->walking && result != ROOM_WAIT);
    if (!exchange->finished)
        conclude(exchange, result);
}

void exchange_again(struct exchange *exchange)
{
    while (room_list[exchange->depth - 1] != &room_balance)
        leave_last(exchange);
    leave_last(exchange);
    walk(exchange);
}

void request_refuse(struct request *request, enum problem problem, const char *detail, ...)
{
    request->problem = problem;
    request->problem_detail = NULL;
    if (!detail)
        return;
    char text[512];
    va_list args;
    va_start(args, detail);
    vsnprintf(text, sizeof(text), detail, args);
    va_end(args);
    request->problem_detail = h2o_strdup(&request->pool, text, SIZE_MAX).base;
}

const char *request_id(const struct request *request)
{
    return request->exchange->id_text;
}

static bool name_is(const struct exchange *exchange, const struct http1_field *field,
                    const char *name, size_t len)
{
    return field->name_len == len && strncasecmp(exchange->head.base + field->name, name, len) == 0;
}

h2o_iovec_t request_header(const struct request *request, const char *name, size_t *count)
{
    const struct exchange *exchange = request->exchange;
    size_t len = strlen(name), seen = 0;
    h2o_iovec_t value = {NULL, 0};
    for (size_t i = 0; i < exchange->head.count; i++) {
        const struct http1_field *field = &exchange->head.fields[i];
        if (!name_is(exchange, field, name, len))
            continue;
        if (seen++ == 0)
            value = http1_value(&exchange->head, field);
        if (!count)
            break;
    }
    if (count)
        *count = seen;
    return value;
}

static void add(struct request *request, const struct added_header **list, const char *name,
                h2o_iovec_t value)
{
    struct added_header *header = h2o_mem_alloc_pool(&request->pool, sizeof(*header));
    *header = (struct added_header){*list, name, value};
    *list = header;
}

void request_add_upstream_header(struct request *request, const char *name, h2o_iovec_t value)
{
    request_drop_header(request, name);
    add(request, &request->exchange->upstream_headers, name, value);
}

void request_drop_header(struct request *request, const char *name)
{
    struct exchange *exchange = request->exchange;
    size_t len = strlen(name);
    for (size_t i = 0; i < exchange->head.count; i++)
        if (name_is(exchange, &exchange->head.fields[i], name, len))
            exchange->head.fields[i].dropped = true;
}

void request_add_response_header(struct request *request, const char *name, h2o_iovec_t value)
{
    add(request, &request->exchange->response_headers, name, value);
}
