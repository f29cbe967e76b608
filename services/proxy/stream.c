/* Where frames are followed, and where ends are written. Of each direction only what is sound and
 * paid for is passed on; what follows after the end of a direction was decided is thrown away. */
#include "services/proxy/stream.h"

#include "services/proxy/config.h"
#include "services/proxy/handshake.h"
#include "services/proxy/io.h"
#include "services/proxy/route.h"
#include "services/proxy/sse.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define END_MS     1000 /* for frames under way, and for the peers' own close */
#define TICK_MS    500
#define REASON_MAX 124

enum close_code { CLOSE_AWAY = 1001, CLOSE_PROTOCOL = 1002, CLOSE_POLICY = 1008 };

struct stream_side {
    struct websocket ws;
    struct io_queue held; /* a message that waits for a room, its header first */
    size_t held_head;
    bool waiting;
    bool cut;    /* nothing more of the peer's is passed on; this is between two frames */
    bool closed; /* our close is written, or not needed */
};

struct stream {
    struct exchange *exchange;
    struct stream *next, **link; /* all of the worker */
    struct timer timer;
    bool events; /* an event stream; else a WebSocket */
    bool ending;
    bool half_closed;            /* towards the origin */
    struct stream_side sides[2]; /* by enum room_direction */
    struct sse sse;
    unsigned code;
    char reason[REASON_MAX];
};

static struct timer_wheel *wheel(const struct exchange *exchange)
{
    return &exchange->request.worker->priv->timers;
}

static void set_timer(struct stream *stream, int64_t after_ms)
{
    struct worker *worker = stream->exchange->request.worker;
    timer_set(wheel(stream->exchange), &stream->timer, worker_now_ms(worker) + after_ms);
}

/* Decides the end; settle() writes it where and when it can be. */
static void decide(struct stream *stream, unsigned code, const char *reason)
{
    if (stream->ending)
        return;
    stream->ending = true;
    stream->code = code;
    snprintf(stream->reason, sizeof(stream->reason), "%s", reason);
    set_timer(stream, END_MS);
}

/* A room has refused: the problem is on the request. */
static void decide_refused(struct stream *stream)
{
    const struct request *request = &stream->exchange->request;
    const struct problem_desc *problem = problem_get(request->problem);
    char reason[REASON_MAX];
    snprintf(reason, sizeof(reason), "%s: %s", problem->name,
             request->problem_detail ? request->problem_detail : problem->title);
    decide(stream, CLOSE_POLICY, reason);
}

static bool between_frames(const struct stream_side *side)
{
    return side->cut || side->waiting || websocket_boundary(&side->ws);
}

static void drop_held(struct stream_side *side)
{
    side->cut = true;
    side->waiting = false;
    io_queue_free(&side->held);
}

static void write_close(struct stream *stream, enum room_direction direction)
{
    struct exchange *exchange = stream->exchange;
    struct stream_side *side = &stream->sides[direction];
    bool to_origin = direction == ROOM_INBOUND;
    char frame[WEBSOCKET_CLOSE_MAX];
    uint32_t mask = (uint32_t)worker_random(exchange->request.worker);
    side->closed = true;
    if (side->ws.ended && !side->cut)
        return; /* the peer's own close has passed */
    drop_held(side);
    size_t len = websocket_close(frame, stream->code, stream->reason, to_origin, mask);
    if (to_origin)
        upstream_inject(exchange, frame, len);
    else
        exchange->ops->body(exchange, &(struct piece){.data = frame, .len = len});
}

/* Neither peer hears anything of us after this; the origin closes first, or the time ends it. */
static void settle_websocket(struct stream *stream)
{
    for (int i = ROOM_INBOUND; i <= ROOM_OUTBOUND; i++)
        if (!stream->sides[i].closed && between_frames(&stream->sides[i]))
            write_close(stream, (enum room_direction)i);
    if (stream->half_closed || !stream->sides[0].closed || !stream->sides[1].closed)
        return;
    stream->half_closed = true;
    upstream_half_close(stream->exchange);
}

static void write_end_event(struct stream *stream)
{
    struct exchange *exchange = stream->exchange;
    const struct request *request = &exchange->request;
    AUTO_BUF struct buf text = {.max = 8 * 1024};
    buf_puts(&text, sse_finish(&stream->sse));
    buf_puts(&text, "event: octroi.end\ndata: ");
    problem_body(&text, request->problem, request->problem_detail, exchange->id_text);
    buf_puts(&text, "\n\n");
    exchange->ops->body(exchange, &(struct piece){.data = text.data, .len = text.len, .end = true});
    stream->sides[ROOM_OUTBOUND].closed = true;
}

/* As exchange_body returns. */
static int settle(struct stream *stream)
{
    if (!stream->ending)
        return 0;
    if (!stream->events) {
        settle_websocket(stream);
        return 0;
    }
    if (!stream->sides[ROOM_OUTBOUND].closed)
        write_end_event(stream);
    return 1;
}

static void end_now(struct stream *stream)
{
    if (settle(stream))
        request_resume(&stream->exchange->request, ROOM_DONE);
}

static void on_timer(struct timer *timer)
{
    struct stream *stream = H2O_STRUCT_FROM_MEMBER(struct stream, timer, timer);
    struct exchange *exchange = stream->exchange;
    struct request *request = &exchange->request;
    if (stream->ending) {
        if (!stream->sides[ROOM_OUTBOUND].closed)
            exchange->ops->cut(exchange);
        request_resume(request, ROOM_DONE);
        return;
    }
    set_timer(stream, TICK_MS);
    for (size_t i = 0; i < exchange->depth; i++) {
        if (room_list[i]->on_tick && room_list[i]->on_tick(request)) {
            decide_refused(stream);
            end_now(stream);
            return;
        }
    }
}

static struct stream *begin(struct exchange *exchange)
{
    struct worker_private *priv = exchange->request.worker->priv;
    struct stream *stream = h2o_mem_alloc_pool(&exchange->request.pool, sizeof(*stream));
    memset(stream, 0, sizeof(*stream));
    stream->exchange = exchange;
    stream->timer.fire = on_timer;
    stream->link = &priv->streams;
    stream->next = priv->streams;
    if (stream->next)
        stream->next->link = &stream->next;
    priv->streams = stream;
    exchange->stream = stream;
    exchange->patient = true;
    timer_clear(&exchange->deadline);
    if (exchange->request.route->access == ROUTE_SUBSCRIPTION)
        set_timer(stream, TICK_MS);
    return stream;
}

void stream_websocket(struct exchange *exchange)
{
    struct stream *stream = begin(exchange);
    bool deflate = exchange->handshake->deflate;
    websocket_init(&stream->sides[ROOM_INBOUND].ws, true, deflate);
    websocket_init(&stream->sides[ROOM_OUTBOUND].ws, false, deflate);
    exchange->tunnel = true;
    metric_add(exchange->request.worker->priv->stats.protocols[STATS_WEBSOCKET], 1);
    exchange->body = BODY_TUNNEL;
    exchange->body_ended = false;
    exchange->body_limit = 0;
}

static bool has_field(const struct http1_head *head, const char *name, const char *prefix)
{
    size_t name_len = strlen(name), prefix_len = strlen(prefix);
    for (size_t i = 0; i < head->count; i++) {
        const struct http1_field *field = &head->fields[i];
        if (field->name_len == name_len && field->value_len >= prefix_len &&
            strncasecmp(head->base + field->name, name, name_len) == 0 &&
            strncasecmp(head->base + field->value, prefix, prefix_len) == 0)
            return true;
    }
    return false;
}

void stream_inspect(struct exchange *exchange, const struct response *response)
{
    const struct route *route = exchange->request.route;
    bool sold = route->access == ROUTE_SUBSCRIPTION;
    if ((!sold && !(route->protocols & PROTOCOL_SSE)) || response->status != 200 ||
        (response->body != BODY_CHUNKED && response->body != BODY_CLOSE) ||
        !has_field(response->head, "content-type", "text/event-stream"))
        return;
    exchange->patient = true;
    if (!sold || has_field(response->head, "content-encoding", ""))
        return;
    struct stream *stream = begin(exchange);
    stream->events = true;
    sse_init(&stream->sse);
}

void stream_leave(struct exchange *exchange)
{
    struct stream *stream = exchange->stream;
    if (!stream)
        return;
    exchange->stream = NULL;
    timer_unlink(wheel(exchange), &stream->timer);
    *stream->link = stream->next;
    if (stream->next)
        stream->next->link = stream->link;
    io_queue_free(&stream->sides[0].held);
    io_queue_free(&stream->sides[1].held);
}

/* From the room that can refuse to the one that counts. */
static enum room_result ask_rooms(struct exchange *exchange, enum room_unit unit, uint64_t count)
{
    for (size_t i = exchange->depth; i-- > 0;) {
        if (!room_list[i]->on_unit)
            continue;
        enum room_result result = room_list[i]->on_unit(&exchange->request, unit, count);
        if (result != ROOM_NEXT)
            return result;
    }
    return ROOM_NEXT;
}

/* False: this frame is not passed on, now or ever. */
static bool enter_frame(struct stream *stream, struct stream_side *side)
{
    if (stream->ending) {
        side->cut = true;
        return false;
    }
    if (!websocket_begins(&side->ws))
        return true;
    enum room_result result = ask_rooms(stream->exchange, ROOM_MESSAGE, 1);
    if (result == ROOM_NEXT)
        return true;
    if (result == ROOM_WAIT) {
        side->waiting = true;
        return false;
    }
    side->cut = true;
    decide_refused(stream);
    return false;
}

static void hold(struct stream_side *side, const char *rest, size_t len)
{
    const void *head = side->ws.head;
    side->held_head = side->ws.head_len;
    io_queue_add(&side->held, head, side->held_head);
    io_queue_add(&side->held, rest, len);
}

/* Puts the part of a header that came earlier before what may be passed on now. */
static void put_before(struct stream *stream, struct piece *piece, const uint8_t *head, size_t len)
{
    const struct worker_private *priv = stream->exchange->request.worker->priv;
    char *scratch = priv->scratch;
    assert(len + piece->len <= priv->scratch_size);
    memmove(scratch + len, piece->data, piece->len);
    memcpy(scratch, head, len);
    piece->data = scratch;
    piece->len += len;
}

/* Follows piece->data from `at`, before which all is passed on; leaves in the piece what is. */
static void follow(struct stream *stream, struct stream_side *side, struct piece *piece, size_t at)
{
    struct websocket *ws = &side->ws;
    uint8_t early[WEBSOCKET_HEADER_MAX];
    size_t early_len = 0, len = piece->len, used;
    const char *why = NULL;
    piece->len = at;
    for (; at < len && !side->cut && !side->waiting; at += used) {
        enum websocket_step step = websocket_step(ws, piece->data + at, len - at, &used, &why);
        if (step == WEBSOCKET_ERROR) {
            side->cut = true;
            decide(stream, CLOSE_PROTOCOL, why);
        } else if (step == WEBSOCKET_HEAD && !enter_frame(stream, side)) {
            if (side->waiting)
                hold(side, piece->data + at + used, len - at - used);
        } else if (step == WEBSOCKET_HEAD || step == WEBSOCKET_PAYLOAD) {
            if (step == WEBSOCKET_HEAD && ws->head_len > used) {
                early_len = ws->head_len - used;
                memcpy(early, ws->head, early_len);
            }
            piece->len = at + used;
        }
    }
    if (early_len)
        put_before(stream, piece, early, early_len);
}

/* What was held is asked for again, and followed on. False: it waits still, or is cut. */
static bool follow_held(struct stream *stream, struct stream_side *side, struct piece *piece)
{
    const struct worker_private *priv = stream->exchange->request.worker->priv;
    char *scratch = priv->scratch;
    if (!enter_frame(stream, side)) {
        if (side->cut)
            drop_held(side);
        return false;
    }
    assert(side->held.len <= priv->scratch_size);
    *piece = (struct piece){.data = scratch, .len = side->held.len};
    memcpy(scratch, side->held.data + side->held.at, piece->len);
    io_queue_free(&side->held);
    follow(stream, side, piece, side->held_head);
    return true;
}

static void count(struct stream *stream, enum room_direction direction, const struct piece *piece)
{
    if (exchange_count(stream->exchange, direction, piece) && !stream->ending)
        decide_refused(stream);
}

int stream_pull(struct exchange *exchange, struct piece *piece)
{
    struct stream *stream = exchange->stream;
    struct stream_side *side = &stream->sides[ROOM_INBOUND];
    int result = 1;
    if (!exchange->tunnel) {
        result = exchange->ops->pull(exchange, piece);
    } else if (side->waiting) {
        return 0;
    } else if (side->held.len) {
        result = follow_held(stream, side, piece);
    } else if (!exchange->body_ended) {
        result = exchange->ops->pull(exchange, piece);
        if (result > 0)
            follow(stream, side, piece, 0);
    } else {
        return 0;
    }
    if (result <= 0)
        return result;
    exchange->body_ended = exchange->body_ended || piece->end;
    count(stream, ROOM_INBOUND, piece);
    return 1;
}

int stream_body(struct exchange *exchange, const struct response *response,
                const struct piece *piece)
{
    struct stream *stream = exchange->stream;
    struct stream_side *side = &stream->sides[ROOM_OUTBOUND];
    struct piece part = *piece;
    uint64_t events = 0;
    if (stream->events) {
        events = sse_feed(&stream->sse, piece->data, piece->len);
    } else if (side->waiting) {
        io_queue_add(&side->held, piece->data, piece->len);
        part.len = 0;
    } else {
        follow(stream, side, &part, 0);
    }
    if (events && ask_rooms(exchange, ROOM_EVENT, events) != ROOM_NEXT)
        decide_refused(stream);
    count(stream, ROOM_OUTBOUND, &part);
    if (response)
        exchange->ops->respond(exchange, response, &part);
    else if (part.len || part.end)
        exchange->ops->body(exchange, &part);
    return part.end ? 0 : settle(stream);
}

bool stream_full(const struct exchange *exchange)
{
    return exchange->stream->sides[ROOM_OUTBOUND].waiting;
}

void stream_written(struct exchange *exchange)
{
    if (exchange->stream->ending && !exchange->stream->events)
        settle_websocket(exchange->stream);
}

void stream_idle(struct exchange *exchange)
{
    struct stream *stream = exchange->stream;
    if (stream->events)
        request_refuse(&exchange->request, PROBLEM_UPSTREAM_TIMEOUT, NULL);
    decide(stream, CLOSE_AWAY, "nothing came for too long");
    end_now(stream);
}

static void resume_outbound(struct stream *stream)
{
    struct exchange *exchange = stream->exchange;
    struct stream_side *side = &stream->sides[ROOM_OUTBOUND];
    struct piece piece = {.len = 0};
    if (follow_held(stream, side, &piece)) {
        count(stream, ROOM_OUTBOUND, &piece);
        exchange->ops->body(exchange, &piece);
    }
    settle(stream);
    if (!side->waiting && !exchange->ops->full(exchange))
        upstream_drained(exchange);
}

void stream_resume(struct exchange *exchange)
{
    struct stream *stream = exchange->stream;
    if (!stream)
        return;
    struct stream_side *in = &stream->sides[ROOM_INBOUND], *out = &stream->sides[ROOM_OUTBOUND];
    bool inbound = in->waiting, outbound = out->waiting;
    in->waiting = out->waiting = false;
    if (outbound)
        resume_outbound(stream);
    if (inbound && exchange->stream == stream)
        upstream_body_ready(exchange);
    /* Where the message was refused nothing was written that would have been followed by this. */
    if (exchange->stream == stream)
        stream_written(exchange);
}

static void on_deadline(struct timer *timer)
{
    struct worker_private *priv =
        H2O_STRUCT_FROM_MEMBER(struct worker_private, stream_timer, timer);
    struct stream *next;
    for (struct stream *stream = priv->streams; stream; stream = next) {
        next = stream->next;
        if (stream->events)
            request_refuse(&stream->exchange->request, PROBLEM_UNAVAILABLE,
                           "the server is going away");
        decide(stream, CLOSE_AWAY, "the server is going away");
        end_now(stream);
    }
}

void stream_drain_all(struct worker *worker)
{
    struct worker_private *priv = worker->priv;
    int64_t limit = priv->generation->config->timeouts.shutdown;
    priv->stream_timer.fire = on_deadline;
    timer_set(&priv->timers, &priv->stream_timer,
              worker_now_ms(worker) + (limit > 2 * END_MS ? limit - END_MS : limit / 2));
}
