/* Streams: from a header list to an exchange, the request's body on its way to the origin, and the
 * one place from which exchanges are called. */
#include "services/proxy/h2_private.h"

#include "libcommon/mem.h"

#include <string.h>

#define SPARE_MAX 256
#define LINGER_MS                                                                                  \
    200 /* answered before its end: some clients drop an answer that RST_STREAM follows */

void h2_stream_touch(struct h2_stream *stream)
{
    struct h2 *h2 = stream->h2;
    if (stream->touched)
        return;
    stream->touched = true;
    stream->touched_next = NULL;
    *h2->touched_end = stream;
    h2->touched_end = &stream->touched_next;
}

static void on_timeout(struct timer *timer);

struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id)
{
    struct h2_worker *shared = h2_shared(h2->worker);
    struct h2_stream *stream = shared->spare;
    if (stream) {
        shared->spare = stream->next;
        shared->spare_count--;
    } else {
        stream = mem_alloc(sizeof(*stream));
    }
    memset(stream, 0, sizeof(*stream));
    stream->h2 = h2;
    stream->id = id;
    stream->timer.fire = on_timeout;
    stream->link = &h2->streams;
    stream->next = h2->streams;
    if (stream->next)
        stream->next->link = &stream->next;
    h2->streams = stream;
    h2->stream_count++;
    h2->first = false;
    nghttp2_session_set_stream_user_data(h2->session, id, stream);
    return stream;
}

/* What the stream held of the connection's window is the others' again. */
static void give_back(struct h2_stream *stream, size_t len)
{
    struct h2 *h2 = stream->h2;
    h2->held -= len;
    size_t due = h2->held < H2_HELD_MAX || stream->unreturned < len ? stream->unreturned : len;
    if (due && h2->session)
        nghttp2_session_consume_connection(h2->session, due);
    stream->unreturned -= due;
}

static void free_stream(struct h2_stream *stream)
{
    struct h2 *h2 = stream->h2;
    struct h2_worker *shared = h2_shared(h2->worker);
    timer_unlink(&h2->worker->priv->timers, &stream->timer);
    give_back(stream, stream->in.len);
    io_queue_free(&stream->in);
    io_queue_free(&stream->out);
    free(stream->response_trailers.base);
    *stream->link = stream->next;
    if (stream->next)
        stream->next->link = stream->link;
    if (--h2->stream_count == 0)
        h2_since(h2);
    if (shared->spare_count == SPARE_MAX) {
        free(stream);
        return;
    }
    stream->next = shared->spare;
    shared->spare = stream;
    shared->spare_count++;
}

/* Of a stream that nghttp2 has closed. */
static void end_stream(struct h2_stream *stream)
{
    struct exchange *exchange = stream->exchange;
    stream->touched = true; /* not any more */
    if (exchange && stream->begun)
        exchange_gone(exchange);
    else if (exchange)
        exchange_discard(exchange);
    stream->exchange = NULL;
    free_stream(stream);
}

static struct exchange *new_exchange(struct h2_stream *stream)
{
    struct h2 *h2 = stream->h2;
    struct exchange *exchange = exchange_new(h2->worker, &h2_ops, stream);
    exchange->peer = &h2->peer;
    exchange->tls = h2->peer.tls;
    exchange->http2 = true;
    stream->exchange = exchange;
    return exchange;
}

static void take_request(struct h2_stream *stream)
{
    struct worker *worker = stream->h2->worker;
    const struct h2_block *block = stream->h2->block;
    struct exchange *exchange = new_exchange(stream);
    struct http1_head head;
    uint64_t key[2] = {0, 0};
    stream->tunnel = block->protocol.base && !block->overflow;
    if (stream->tunnel)
        for (size_t i = 0; i < ARRAY_LEN(key); i++)
            key[i] = worker_random(worker);
    if (h2_block_head(block, &exchange->request.pool, key, worker->priv->fields, &head,
                      &exchange->malformed) == HTTP1_DONE) {
        exchange_set_head(exchange, &head);
    } else {
        exchange->head.minor = 1;
        exchange->body_ended = true;
    }
}

static void take_trailers(struct h2_stream *stream)
{
    const struct h2_block *block = stream->h2->block;
    size_t len = block->text_len;
    if (!stream->exchange || len == 0)
        return;
    char *lines = h2o_mem_alloc_pool(&stream->exchange->request.pool, len);
    memcpy(lines, block->text, len);
    if (block->overflow || len > CHUNK_MAX_TRAILERS || http1_check_trailers(lines, &len)) {
        nghttp2_submit_rst_stream(stream->h2->session, NGHTTP2_FLAG_NONE, stream->id,
                                  NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    stream->trailers = h2o_iovec_init(lines, len);
}

void h2_stream_head(struct h2_stream *stream)
{
    if (stream->h2->block->trailers)
        take_trailers(stream);
    else
        take_request(stream);
    h2_stream_touch(stream);
}

/* No length was said: it is chunked, unless all of it has come already and is nothing. */
static void choose_body(struct h2_stream *stream)
{
    struct exchange *exchange = stream->exchange;
    if (exchange->malformed.problem != PROBLEM_NONE || stream->tunnel)
        return;
    if (exchange->head.has_length || (stream->remote_ended && stream->in.len == 0))
        return;
    exchange->body = BODY_CHUNKED;
    exchange->body_ended = false;
}

/* A drip does not move the deadline (limits.min_rate). A body whose answer is under way already may
 * be a conversation, in which silence is allowed as long as the origin speaks. */
static void wait_for(struct h2_stream *stream, enum h2_wait wait, int64_t idle_ms)
{
    struct h2 *h2 = stream->h2;
    bool talks = wait == H2_WAITS_BODY && stream->exchange->responded;
    if (stream->waits_for == wait && !talks && stream->progress < h2_least(h2, idle_ms))
        return;
    stream->waits_for = wait;
    stream->progress = 0;
    stream->conn_sent = h2->sent;
    timer_set(&h2->worker->priv->timers, &stream->timer, worker_now_ms(h2->worker) + idle_ms);
}

static void arm(struct h2_stream *stream)
{
    struct h2 *h2 = stream->h2;
    bool waits = stream->exchange && stream->exchange->body != BODY_NONE && !stream->tunnel &&
                 !stream->remote_ended && stream->in.len == 0;
    if (stream->sent && !stream->exchange) {
        if (!stream->lingers)
            timer_set(&h2->worker->priv->timers, &stream->timer,
                      worker_now_ms(h2->worker) + LINGER_MS);
        stream->lingers = true;
    } else if (stream->out.len) {
        wait_for(stream, H2_WAITS_WRITE, h2_timeouts(h2)->response_write_idle);
    } else if (waits) {
        wait_for(stream, H2_WAITS_BODY, h2_timeouts(h2)->request_body_idle);
    } else {
        stream->waits_for = H2_WAITS_NOT;
        timer_clear(&stream->timer);
    }
}

/* The client takes what other streams have for it, and would take this one's: it only waits for its
 * turn. */
static bool waits_for_others(const struct h2_stream *stream)
{
    const struct h2 *h2 = stream->h2;
    uint64_t least = h2_least(h2, h2_timeouts(h2)->response_write_idle);
    return stream->out.len && h2->sent - stream->conn_sent >= least &&
           nghttp2_session_get_stream_remote_window_size(h2->session, stream->id) > 0;
}

static void on_timeout(struct timer *timer)
{
    struct h2_stream *stream = H2O_STRUCT_FROM_MEMBER(struct h2_stream, timer, timer);
    struct exchange *exchange = stream->exchange;
    h2_mark(stream->h2);
    if (waits_for_others(stream)) {
        stream->waits_for = H2_WAITS_NOT;
        arm(stream);
        return;
    }
    if (stream->out.len || !exchange || exchange->responded) {
        nghttp2_submit_rst_stream(stream->h2->session, NGHTTP2_FLAG_NONE, stream->id,
                                  stream->sent ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
        return;
    }
    request_refuse(&exchange->request, PROBLEM_REQUEST_TIMEOUT, "the body stopped coming");
    request_resume(&exchange->request, ROOM_REJECT);
}

static void settle(struct h2_stream *stream)
{
    if (stream->closed) {
        end_stream(stream);
        return;
    }
    if (stream->exchange && !stream->begun) {
        stream->begun = true;
        stream->input = false;
        choose_body(stream);
        exchange_start(stream->exchange);
    }
    if (stream->input && stream->exchange) {
        stream->input = false;
        upstream_body_ready(stream->exchange);
    }
    if (stream->drained && stream->exchange) {
        stream->drained = stream->throttled = false;
        upstream_drained(stream->exchange);
    }
    arm(stream);
}

void h2_settle(struct h2 *h2)
{
    if (h2->settling)
        return;
    h2->settling = true;
    while (h2->touched) {
        struct h2_stream *stream = h2->touched;
        h2->touched = stream->touched_next;
        if (!h2->touched)
            h2->touched_end = &h2->touched;
        stream->touched = false;
        settle(stream);
    }
    h2->settling = false;
}

void h2_stream_end_all(struct h2 *h2)
{
    while (h2->streams)
        end_stream(h2->streams);
    h2->touched = NULL;
    h2->touched_end = &h2->touched;
}

int h2_stream_pull(struct exchange *exchange, struct piece *piece)
{
    struct h2_stream *stream = exchange->downstream;
    size_t len = stream->in.len;
    piece->end = stream->remote_ended;
    if (stream->pulled || (len == 0 && !piece->end))
        return 0;
    stream->pulled = piece->end;
    piece->data = len ? stream->in.data + stream->in.at : NULL;
    piece->len = len;
    if (piece->end)
        piece->trailers = stream->trailers;
    io_queue_take(&stream->in, len);
    give_back(stream, len);
    if (len && !stream->closed)
        nghttp2_session_consume_stream(stream->h2->session, stream->id, len);
    h2_stream_touch(stream);
    h2_mark(stream->h2);
    return 1;
}
