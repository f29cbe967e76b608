/* The room in which an exchange meets its origin: sends the request, reads the answer, both as they
 * come. Every event ends in one outcome, and one place acts on it. */
#include "services/proxy/upstream.h"

#include "services/proxy/frame.h"
#include "services/proxy/handshake.h"
#include "services/proxy/stream.h"

#include "services/proxy/route.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define INTERIMS_MAX 16

enum outcome {
    GOING,  /* more events follow */
    DONE,   /* the answer is complete */
    ENDED,  /* the answer was completed here, the origin's is not wanted any more */
    FAILED, /* request_refuse was called */
    AGAIN,  /* nothing is lost: on another connection */
};

static void detach(struct exchange *exchange)
{
    struct upstream *upstream = exchange->upstream;
    exchange->upstream = NULL;
    if (upstream)
        upstream_close(upstream);
}

static void settle(struct exchange *exchange, enum outcome outcome)
{
    switch (outcome) {
    case GOING:
        break;
    case DONE:
        request_resume(&exchange->request, ROOM_DONE);
        break;
    case ENDED:
        detach(exchange);
        request_resume(&exchange->request, ROOM_DONE);
        break;
    case FAILED:
        detach(exchange);
        request_resume(&exchange->request, ROOM_REJECT);
        break;
    case AGAIN:
        detach(exchange);
        exchange_again(exchange);
        break;
    }
}

static enum outcome refuse(struct exchange *exchange, enum problem problem, const char *detail)
{
    request_refuse(&exchange->request, problem, detail ? "%s" : NULL, detail);
    return FAILED;
}

static void report(struct exchange *exchange, enum fitness_outcome outcome)
{
    balance_report(exchange->request.worker, &exchange->place, outcome);
}

/* The origin has failed this attempt: another one, or the refusal. */
static enum outcome broken(struct exchange *exchange, const char *detail)
{
    report(exchange, FITNESS_BROKE);
    return retry_plan(exchange, RETRY_BROKEN, -1) ? AGAIN
                                                  : refuse(exchange, PROBLEM_BAD_GATEWAY, detail);
}

/* Bytes that the origin has not taken yet. */
static size_t waiting(const struct upstream *upstream)
{
    return upstream->out.len + upstream->pipe.held;
}

/* The deadline of what is waited for now. */
static void arm(struct upstream *upstream)
{
    const struct pool_timeouts_config *timeouts = &upstream->exchange->request.route->timeouts;
    const struct exchange *exchange = upstream->exchange;
    int64_t now_ms = worker_now_ms(upstream->worker);
    struct timer_wheel *wheel = &upstream->worker->priv->timers;
    if (upstream->head_done && exchange->patient && (exchange->tunnel || !upstream->paused))
        timer_set(wheel, &upstream->timer,
                  now_ms + exchange->generation->config->timeouts.tunnel_idle);
    else if (upstream->head_done && !upstream->paused)
        timer_set(wheel, &upstream->timer, now_ms + timeouts->body_idle);
    else if (!upstream->head_done && (upstream->request_sent || waiting(upstream)))
        timer_set(wheel, &upstream->timer, now_ms + timeouts->response_head);
    else
        timer_clear(&upstream->timer);
}

static void on_writable(h2o_socket_t *sock, const char *err);

static void want_write(struct upstream *upstream)
{
    if (waiting(upstream) == 0 || upstream->notified)
        return;
    upstream->notified = true;
    h2o_socket_notify_write(upstream->io.sock, on_writable);
}

/* The origin takes no more. Its answer may be on the way all the same: reading decides. */
static void on_write_error(struct upstream *upstream)
{
    upstream->write_broken = true;
    io_queue_free(&upstream->out);
    splice_drop(&upstream->pipe);
    if (!upstream->exchange->sent_any)
        meter_unmark(&upstream->exchange->request);
}

static void write_frame(struct upstream *upstream, struct frame *frame)
{
    size_t written = 0;
    if (frame->count == 0)
        return;
    if (io_write(&upstream->io, &upstream->out, frame->iov, frame->count, &written)) {
        on_write_error(upstream);
        return;
    }
    if (written)
        upstream->exchange->sent_any = true;
}

/* What replay_pull gave. */
static void write_piece(struct upstream *upstream, const struct piece *piece)
{
    struct frame frame = {.count = 0};
    if (piece->len && !piece->data) {
        if (splice_write(&upstream->pipe, upstream->io.fd))
            on_write_error(upstream);
        return;
    }
    frame_piece(&frame, piece, upstream->exchange->body == BODY_CHUNKED);
    write_frame(upstream, &frame);
}

/* Where a large body may be put on its way to the origin. */
static struct splice_pipe *pipe_in(struct upstream *upstream)
{
    const struct exchange *exchange = upstream->exchange;
    bool large = exchange->body == BODY_LENGTH && exchange->body_length >= BODY_BULK;
    return large && !upstream->io.tls && !exchange->tunnel ? &upstream->pipe : NULL;
}

/* The end of a tunnel's direction is the end of the connection's. */
static void close_direction(struct upstream *upstream)
{
    if (upstream->request_sent && !upstream->write_broken && io_end(&upstream->io, &upstream->out))
        on_write_error(upstream);
}

static void after_tunnel_write(struct upstream *upstream)
{
    if (upstream->request_sent)
        close_direction(upstream);
    else
        stream_written(upstream->exchange);
}

/* As much of the body as is there and the origin takes. */
static enum outcome pump(struct upstream *upstream)
{
    struct exchange *exchange = upstream->exchange;
    while (!upstream->request_sent && !upstream->write_broken && waiting(upstream) == 0) {
        struct piece piece = {.pipe = pipe_in(upstream)};
        int result = replay_pull(exchange, &piece);
        if (result < 0)
            return FAILED;
        if (result == 0)
            break;
        upstream->request_sent = piece.end;
        write_piece(upstream, &piece);
        if (exchange->tunnel)
            after_tunnel_write(upstream);
    }
    want_write(upstream);
    arm(upstream);
    return GOING;
}

static enum outcome send_request(struct upstream *upstream)
{
    struct exchange *exchange = upstream->exchange;
    struct head_writer writer = head_begin(upstream->worker);
    struct frame frame = {.count = 0};
    replay_rewind(exchange);
    forward_head(exchange, &writer);
    if (writer.overflow)
        return refuse(exchange, PROBLEM_HEADERS_TOO_LARGE, NULL);
    frame_add(&frame, writer.start, (size_t)(writer.at - writer.start));
    upstream->request_sent = exchange->body == BODY_NONE;
    if (!upstream->request_sent) {
        struct piece piece = {.len = 0};
        int result = replay_pull(exchange, &piece);
        if (result < 0)
            return FAILED;
        if (result > 0)
            frame_piece(&frame, &piece, exchange->body == BODY_CHUNKED);
        frame_flatten(&frame, &writer);
        upstream->request_sent = result > 0 && piece.end;
    }
    exchange->upstream_ns = upstream->worker->now_ns;
    meter_mark(&exchange->request);
    write_frame(upstream, &frame);
    if (!upstream->request_sent)
        return pump(upstream);
    want_write(upstream);
    arm(upstream);
    return GOING;
}

static void on_writable(h2o_socket_t *sock, const char *err)
{
    struct upstream *upstream = sock->data;
    (void)err;
    worker_tick(upstream->worker);
    upstream->notified = false;
    size_t before = upstream->out.len;
    if (io_flush(&upstream->io, &upstream->out) ||
        (upstream->out.len == 0 && splice_write(&upstream->pipe, upstream->io.fd)))
        on_write_error(upstream);
    else if (upstream->out.len < before)
        upstream->exchange->sent_any = true;
    if (upstream->exchange->tunnel && upstream->out.len == 0)
        close_direction(upstream);
    settle(upstream->exchange, pump(upstream));
}

static enum outcome complete(struct upstream *upstream, size_t leftover)
{
    bool clean = upstream->keep_alive && upstream->request_sent && !upstream->write_broken &&
                 waiting(upstream) == 0 && leftover == 0 && upstream->body.kind != BODY_CLOSE;
    upstream->exchange->upstream = NULL;
    upstream->exchange = NULL;
    http1_body_free(&upstream->body);
    if (clean)
        upstream_park(upstream);
    else
        upstream_close(upstream);
    return DONE;
}

static int read_piece(struct upstream *upstream, char *buf, size_t len, struct piece *piece,
                      size_t *leftover)
{
    struct http1_body *body = &upstream->body;
    size_t consumed;
    if (http1_body_read(body, buf, len, &consumed, &piece->data, &piece->len))
        return -1;
    *leftover = len - consumed;
    piece->end = body->ended;
    if (body->ended && body->chunks.trailers_len) {
        if (http1_check_trailers(body->chunks.trailers, &body->chunks.trailers_len))
            return -1;
        piece->trailers = h2o_iovec_init(body->chunks.trailers, body->chunks.trailers_len);
        header_edit_trailers(&upstream->exchange->request.route->response_edit, &piece->trailers);
    }
    return 0;
}

static enum outcome after_piece(struct upstream *upstream, const struct piece *piece,
                                size_t leftover)
{
    struct exchange *exchange = upstream->exchange;
    if (piece->end)
        return complete(upstream, leftover);
    if (!upstream->paused && exchange_full(exchange)) {
        upstream->paused = true;
        h2o_socket_read_stop(upstream->io.sock);
    }
    arm(upstream);
    return GOING;
}

static enum outcome on_body(struct upstream *upstream, char *buf, size_t len)
{
    struct exchange *exchange = upstream->exchange;
    struct piece piece = {.len = 0};
    size_t leftover;
    if (read_piece(upstream, buf, len, &piece, &leftover))
        return broken(exchange, "the framing of the body is malformed");
    int result = piece.len || piece.end ? exchange_body(exchange, &piece) : 0;
    if (result)
        return result < 0 ? FAILED : ENDED;
    return after_piece(upstream, &piece, leftover);
}

/* Nothing follows the body, neither bytes nor an end: a read would have shown it. */
static bool is_quiet(const struct upstream *upstream)
{
    char byte;
    return recv(upstream->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* True where a piece of the body went into the client's pipe, which *outcome tells about. What
 * cannot be spliced now is read: that finds out why. */
static bool splice_body(struct upstream *upstream, enum outcome *outcome)
{
    struct exchange *exchange = upstream->exchange;
    struct http1_body *body = &upstream->body;
    bool can = upstream->large && upstream->bulk && !upstream->io.tls && !exchange->stream &&
               exchange->ops->pipe;
    struct splice_pipe *pipe = can ? exchange->ops->pipe(exchange) : NULL;
    if (!pipe)
        return false;
    size_t most = exchange_splice_most(exchange, body->left);
    struct piece piece = {.len = splice_read(pipe, upstream->io.fd, most)};
    upstream->bulk = piece.len >= SPLICE_SPARSE;
    if (piece.len == 0)
        return false;
    body->left -= piece.len;
    piece.end = body->ended = body->left == 0;
    size_t leftover = piece.end && !is_quiet(upstream);
    *outcome = exchange_body(exchange, &piece) ? FAILED : after_piece(upstream, &piece, leftover);
    return true;
}

/* A 204 has no body, but an origin that announces one may send it: later, as what seems to be the
 * answer to the next request (RFC 9110 section 8.6, RFC 9112 section 6.1: it must not). */
static bool announces_what_cannot_be(const struct http1_head *head)
{
    return head->status == 204 && (head->content_length || head->seen[NAME_TRANSFER_ENCODING]);
}

/* Keep-Alive: timeout=N, less a margin for the way. */
static void note_keep_alive(struct upstream *upstream, const struct http1_head *head)
{
    const struct http1_field *field = http1_find(head, NAME_KEEP_ALIVE);
    int64_t limit = upstream->pool->timeouts.keepalive_idle;
    upstream->keep_alive = head->keep_alive && !announces_what_cannot_be(head);
    if (field) {
        h2o_iovec_t value = http1_value(head, field);
        const char *at = memmem(value.base, value.len, "timeout=", 8);
        int64_t seconds = 0;
        for (at = at ? at + 8 : NULL; at && at < value.base + value.len; at++) {
            if (*at < '0' || *at > '9' || seconds > 86400)
                break;
            seconds = seconds * 10 + (*at - '0');
        }
        if (at && seconds * 1000 - 500 < limit)
            limit = seconds * 1000 - 500;
    }
    upstream->idle_limit_ms = limit;
}

static bool is_error(unsigned status)
{
    return status == 502 || status == 503 || status == 504;
}

/* An origin that says that it cannot: another may. */
static bool try_another(struct exchange *exchange, const struct http1_head *head)
{
    const struct http1_field *field = http1_find(head, NAME_RETRY_AFTER);
    int64_t after_s = field ? retry_after_s(http1_value(head, field)) : -1;
    return is_error(head->status) && retry_plan(exchange, RETRY_STATUS, after_s);
}

static enum outcome on_final(struct upstream *upstream, struct http1_head *head, char *rest,
                             size_t len)
{
    struct exchange *exchange = upstream->exchange;
    struct response response = {
        .status = head->status, .head = head, .body = head->body, .length = head->content_length};
    struct piece piece = {.len = 0};
    size_t leftover;
    exchange->head_ns = upstream->worker->now_ns - exchange->upstream_ns;
    metric_observe(stats_pool(&upstream->worker->priv->stats, upstream->backend->pool)->seconds,
                   (double)exchange->head_ns / 1e9);
    report(exchange, is_error(head->status) ? FITNESS_ERROR_STATUS : FITNESS_OK);
    if (try_another(exchange, head))
        return AGAIN;
    if (exchange->handshake && exchange->http2 && head->status < 300)
        return refuse(exchange, PROBLEM_BAD_GATEWAY, "the origin did not switch to a WebSocket");
    note_keep_alive(upstream, head);
    http1_drop_hop_by_hop(head);
    upstream->head_done = true;
    http1_body_init(&upstream->body, head->body, head->content_length);
    upstream->large = head->body == BODY_LENGTH && head->content_length >= BODY_BULK;
    if (read_piece(upstream, rest, len, &piece, &leftover))
        return broken(exchange, "the framing of the body is malformed");
    int result = exchange_respond(exchange, &response, &piece);
    if (result)
        return result < 0 ? FAILED : ENDED;
    io_queue_free(&upstream->in);
    return after_piece(upstream, &piece, leftover);
}

/* From here on both sides are a WebSocket's; what came with the head is its first data. */
static enum outcome on_switch(struct upstream *upstream, struct http1_head *head, char *rest,
                              size_t len)
{
    struct exchange *exchange = upstream->exchange;
    struct response response = {.status = 101, .head = head, .body = BODY_TUNNEL};
    const char *why = handshake_accepts(exchange, head);
    if (why)
        return broken(exchange, why);
    report(exchange, FITNESS_OK);
    http1_drop_hop_by_hop(head);
    upstream->head_done = true;
    upstream->keep_alive = false;
    upstream->request_sent = false;
    http1_body_init(&upstream->body, BODY_TUNNEL, 0);
    stream_websocket(exchange);
    int result = exchange_respond(exchange, &response, &(struct piece){.len = 0});
    enum outcome outcome = result ? FAILED : GOING;
    if (outcome == GOING && len)
        outcome = on_body(upstream, rest, len);
    io_queue_free(&upstream->in);
    return outcome == GOING ? pump(upstream) : outcome;
}

/* NULL, or why not. */
static const char *on_interim(struct upstream *upstream, struct http1_head *head)
{
    struct exchange *exchange = upstream->exchange;
    if (++exchange->interims > INTERIMS_MAX)
        return "there are too many interim responses";
    if (head->status == 100 && !exchange->head.expect_continue)
        return NULL;
    http1_drop_hop_by_hop(head);
    exchange_interim(exchange, &(struct response){.status = head->status, .head = head});
    return NULL;
}

static enum outcome on_head(struct upstream *upstream, char *buf, size_t len)
{
    struct exchange *exchange = upstream->exchange;
    struct worker_private *priv = upstream->worker->priv;
    bool queued = upstream->in.len > 0;
    if (queued) {
        io_queue_add(&upstream->in, buf, len);
        buf = upstream->in.data + upstream->in.at;
        len = upstream->in.len;
    }
    unsigned interims = exchange->interims;
    for (;;) {
        struct http1_head head = {.fields = priv->fields};
        struct http1_error error = {.detail = NULL};
        enum http1_result result =
            http1_parse_response(buf, len, &priv->limits, exchange->is_head, &head, &error);
        if (result == HTTP1_ERROR)
            return broken(exchange, error.detail);
        if (result == HTTP1_MORE)
            break;
        if (head.status >= 200)
            return on_final(upstream, &head, buf + head.len, len - head.len);
        if (head.status == 101)
            return on_switch(upstream, &head, buf + head.len, len - head.len);
        const char *why = on_interim(upstream, &head);
        if (why)
            return broken(exchange, why);
        buf += head.len;
        len -= head.len;
        if (queued)
            io_queue_take(&upstream->in, head.len);
    }
    if (!queued)
        io_queue_add(&upstream->in, buf, len);
    /* The deadline is the head's: a byte of it now and then does not move it. */
    if (exchange->interims != interims)
        arm(upstream);
    return GOING;
}

static enum outcome on_end(struct upstream *upstream, bool orderly)
{
    struct exchange *exchange = upstream->exchange;
    if (!upstream->head_done) {
        if (upstream->reused && !upstream->answered && retry_plan(exchange, RETRY_REUSED, -1))
            return AGAIN;
        return broken(exchange, "the origin closed before its answer");
    }
    if (!orderly || (upstream->body.kind != BODY_CLOSE && upstream->body.kind != BODY_TUNNEL))
        return broken(exchange, "the origin closed in the middle of the body");
    struct piece piece = {.end = true};
    if (exchange_body(exchange, &piece) < 0)
        return FAILED;
    return complete(upstream, 0);
}

void upstream_on_read(h2o_socket_t *sock, const char *err)
{
    struct upstream *upstream = sock->data;
    struct exchange *exchange = upstream->exchange;
    char *buf = upstream->worker->priv->buffer;
    enum outcome outcome;
    (void)err;
    worker_tick(upstream->worker);
    if (!upstream->idle && splice_body(upstream, &outcome)) {
        settle(exchange, outcome);
        return;
    }
    ssize_t n = io_read(&upstream->io, buf, WORKER_BUFFER);
    if (n == IO_AGAIN)
        return;
    if (upstream->idle) {
        upstream_close(upstream);
        return;
    }
    if (n <= 0) {
        settle(exchange, on_end(upstream, n == 0));
        return;
    }
    upstream->answered = true;
    upstream->bulk = n >= SPLICE_BULK;
    settle(exchange, upstream->head_done ? on_body(upstream, buf, (size_t)n)
                                         : on_head(upstream, buf, (size_t)n));
}

static enum outcome unreachable(struct exchange *exchange, enum problem problem)
{
    struct worker_private *priv = exchange->request.worker->priv;
    metric_add(stats_pool(&priv->stats, exchange->request.route->pool->state)->failed, 1);
    report(exchange, FITNESS_UNREACHABLE);
    return retry_plan(exchange, RETRY_CONNECT, -1) ? AGAIN : refuse(exchange, problem, NULL);
}

static void begin(struct upstream *upstream)
{
    upstream->request_sent = false;
    upstream->write_broken = false;
    upstream->answered = false;
    upstream->head_done = false;
    upstream->paused = false;
    upstream->large = upstream->bulk = false;
    http1_body_init(&upstream->body, BODY_NONE, 0);
}

void upstream_on_connect(h2o_socket_t *sock, const char *err)
{
    struct upstream *upstream = sock->data;
    struct exchange *exchange = upstream->exchange;
    worker_tick(upstream->worker);
    upstream->connecting = false;
    if (err) {
        settle(exchange, unreachable(exchange, PROBLEM_UPSTREAM_UNREACHABLE));
        return;
    }
    struct stats_pool *cells = stats_pool(&upstream->worker->priv->stats, upstream->backend->pool);
    exchange->connect_ns = upstream->worker->now_ns - exchange->attempt_ns;
    metric_add(cells->connected, 1);
    metric_observe(cells->connect_seconds, (double)exchange->connect_ns / 1e9);
    h2o_socket_read_start(sock, upstream_on_read);
    begin(upstream);
    settle(exchange, send_request(upstream));
}

void upstream_on_timeout(struct timer *timer)
{
    struct upstream *upstream = H2O_STRUCT_FROM_MEMBER(struct upstream, timer, timer);
    struct exchange *exchange = upstream->exchange;
    if (upstream->idle) {
        upstream_close(upstream);
        return;
    }
    if (upstream->connecting) {
        settle(exchange, unreachable(exchange, PROBLEM_UPSTREAM_TIMEOUT));
        return;
    }
    if (exchange->stream) {
        stream_idle(exchange);
        return;
    }
    /* It may still be at work on it: not tried again. */
    report(exchange, FITNESS_TIMED_OUT);
    settle(exchange, refuse(exchange, PROBLEM_UPSTREAM_TIMEOUT, NULL));
}

void upstream_body_ready(struct exchange *exchange)
{
    struct upstream *upstream = exchange->upstream;
    if (exchange->collect)
        exchange->collect(exchange);
    else if (upstream && !upstream->connecting && !upstream->request_sent)
        settle(exchange, pump(upstream));
}

bool upstream_piped(const struct exchange *exchange)
{
    return exchange->upstream && exchange->upstream->pipe.held;
}

void upstream_drained(struct exchange *exchange)
{
    struct upstream *upstream = exchange->upstream;
    if (!upstream || !upstream->paused || (exchange->stream && stream_full(exchange)))
        return;
    upstream->paused = false;
    h2o_socket_read_start(upstream->io.sock, upstream_on_read);
    arm(upstream);
}

void upstream_inject(struct exchange *exchange, char *data, size_t len)
{
    struct upstream *upstream = exchange->upstream;
    struct frame frame = {.count = 0};
    if (!upstream || upstream->request_sent || upstream->write_broken)
        return;
    frame_add(&frame, data, len);
    write_frame(upstream, &frame);
    want_write(upstream);
}

void upstream_half_close(struct exchange *exchange)
{
    struct upstream *upstream = exchange->upstream;
    if (!upstream || upstream->request_sent)
        return;
    upstream->request_sent = true;
    close_direction(upstream);
}

static void on_refused(struct timer *timer)
{
    struct exchange *exchange = H2O_STRUCT_FROM_MEMBER(struct exchange, timer, timer);
    settle(exchange, unreachable(exchange, PROBLEM_UPSTREAM_UNREACHABLE));
}

/* At once refused by the system. */
static enum room_result not_opened(struct exchange *exchange, int error)
{
    struct worker *worker = exchange->request.worker;
    if (upstream_is_shortage(error)) {
        request_refuse(&exchange->request, PROBLEM_OVERLOADED,
                       "no connection to the origin can be opened at the moment");
        return ROOM_REJECT;
    }
    /* Not from within enter: in the next turn. */
    exchange->timer.fire = on_refused;
    timer_set(&worker->priv->timers, &exchange->timer, worker_now_ms(worker));
    return ROOM_WAIT;
}

/* Where not, a connection that its origin may be closing just now is not the one to take. */
static bool can_be_repeated(const struct exchange *exchange)
{
    return retry_may_repeat(exchange) && (exchange->body == BODY_NONE || exchange->replay.keeping);
}

static enum room_result enter(struct request *request)
{
    struct exchange *exchange = request->exchange;
    struct worker *worker = request->worker;
    struct upstream *upstream = NULL;
    exchange->attempts++;
    exchange->attempt_ns = request->worker->now_ns;
    exchange->connect_ns = exchange->head_ns = -1;
    if (!exchange->fresh)
        upstream = upstream_take(worker, request->route->pool, exchange->backend,
                                 can_be_repeated(exchange));
    if (!upstream)
        upstream = upstream_connect(worker, request->route->pool, exchange->backend);
    if (!upstream)
        return not_opened(exchange, errno);
    upstream->exchange = exchange;
    exchange->upstream = upstream;
    if (upstream->connecting) {
        timer_set(&worker->priv->timers, &upstream->timer,
                  worker_now_ms(worker) + request->route->timeouts.connect);
        return ROOM_WAIT;
    }
    begin(upstream);
    return send_request(upstream) == FAILED ? ROOM_REJECT : ROOM_WAIT;
}

static void leave(struct request *request)
{
    struct exchange *exchange = request->exchange;
    timer_unlink(&request->worker->priv->timers, &exchange->timer);
    stream_leave(exchange);
    detach(exchange);
}

const struct room room_upstream = {.name = "upstream", .enter = enter, .leave = leave};
