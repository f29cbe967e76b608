/* The connection: its bytes, its time and its end. Input is read into the worker's buffer and
 * handed to nghttp2 whole; output is gathered over a turn of the loop and leaves in one write. */
#include "services/proxy/h2_private.h"

#include "libcommon/mem.h"
#include "services/proxy/ingress.h"

#include <string.h>

#define LINGER_BYTES (256 * 1024)
#define LINGER_MS    2000
#define GOAWAY_MS    1000 /* for streams that were on their way when the drain was announced */
#define QUEUE_MAX    256  /* frames that wait behind a blocked socket: no more is read then */
#define GOAWAY_LEN   17

struct h2_worker *h2_shared(struct worker *worker)
{
    if (!worker->priv->h2)
        worker->priv->h2 = mem_zalloc(sizeof(*worker->priv->h2));
    return worker->priv->h2;
}

void h2_worker_free(struct h2_worker **shared)
{
    if (!*shared)
        return;
    for (struct h2_stream *next, *at = (*shared)->spare; at; at = next) {
        next = at->next;
        free(at);
    }
    h2_block_spares_free(&(*shared)->blocks);
    while ((*shared)->out_count)
        free((*shared)->outs[--(*shared)->out_count]);
    free((*shared)->nva);
    free((*shared)->frame);
    free(*shared);
    *shared = NULL;
}

void h2_mark(struct h2 *h2)
{
    struct h2_worker *shared = h2_shared(h2->worker);
    if (h2->dirty || h2->state == H2_CLOSED)
        return;
    h2->dirty = true;
    h2->dirty_next = shared->dirty;
    shared->dirty = h2;
}

void h2_fail(struct h2 *h2, uint32_t error, const char *blame)
{
    if (h2->failing)
        return;
    h2->failing = true;
    h2->error = error;
    h2->blame = blame;
    h2_mark(h2);
}

void h2_charge(struct h2 *h2, enum h2_cost cost)
{
    if (!h2_guard_take(&h2->guard, cost, h2->worker->now_ns / 1000))
        h2_fail(h2, NGHTTP2_ENHANCE_YOUR_CALM, h2_guard_name(cost));
}

static int64_t now_ms(const struct h2 *h2)
{
    return worker_now_ms(h2->worker);
}

static void begin_anew(struct h2 *h2)
{
    h2->since_ms = now_ms(h2);
    h2->taken = 0;
}

void h2_since(struct h2 *h2)
{
    if (h2->queue.len == 0)
        begin_anew(h2);
}

uint64_t h2_least(const struct h2 *h2, int64_t idle_ms)
{
    int64_t rate = h2->worker->priv->generation->config->limits.min_rate;
    int64_t least = rate * idle_ms / 1000;
    return least > 1 ? (uint64_t)least : 1;
}

static void return_out(struct h2 *h2)
{
    struct h2_worker *shared = h2_shared(h2->worker);
    if (h2->out && shared->out_count < ARRAY_LEN(shared->outs))
        shared->outs[shared->out_count++] = h2->out;
    else
        free(h2->out);
    h2->out = NULL;
    h2->out_len = 0;
}

static void release(struct worker *worker, struct grave *grave)
{
    (void)worker;
    free(H2O_STRUCT_FROM_MEMBER(struct h2, grave, grave));
}

/* All that a connection has beside its descriptor. */
static void drop_session(struct h2 *h2)
{
    h2_stream_end_all(h2);
    nghttp2_session_del(h2->session);
    h2->session = NULL;
    free(h2->block);
    h2->block = NULL;
    return_out(h2);
}

static void close_connection(struct h2 *h2)
{
    if (h2->state == H2_CLOSED)
        return;
    h2->state = H2_CLOSED;
    drop_session(h2);
    io_close(&h2->io);
    timer_unlink(&h2->worker->priv->timers, &h2->timer);
    *h2->link = h2->next;
    if (h2->next)
        h2->next->link = h2->link;
    io_queue_free(&h2->queue);
    metric_add(h2->worker->priv->stats.protocols[STATS_HTTP2], -1);
    ingress_closed(h2->worker);
    worker_bury(h2->worker, &h2->grave, release);
}

static void on_writable(h2o_socket_t *sock, const char *err);

void h2_write(struct h2 *h2)
{
    struct iovec iov = {h2->out, h2->out_len};
    size_t len = h2->out_len;
    h2->out_len = 0;
    if (h2->broken || len == 0)
        return;
    if (io_write(&h2->io, &h2->queue, &iov, 1, NULL)) {
        h2->broken = true;
        io_queue_free(&h2->queue);
        return;
    }
    if (h2->queue.len && !h2->notified) {
        h2->notified = true;
        begin_anew(h2);
        h2o_socket_notify_write(h2->io.sock, on_writable);
    }
}

static void set_timer(struct h2 *h2, int64_t due_ms)
{
    timer_set(&h2->worker->priv->timers, &h2->timer, due_ms);
}

static int64_t due_of(const struct h2 *h2)
{
    const struct timeouts_config *timeouts = h2_timeouts(h2);
    if (h2->queue.len)
        return h2->since_ms + timeouts->response_write_idle;
    if (h2->block)
        return h2->since_ms + timeouts->request_head;
    if (h2->goaway == 1)
        return h2->since_ms + GOAWAY_MS;
    if (h2->stream_count == 0)
        return h2->since_ms + (h2->first ? timeouts->request_head : timeouts->keepalive_idle);
    return TIMER_NEVER;
}

static void arm(struct h2 *h2)
{
    int64_t due_ms = due_of(h2);
    if (due_ms == TIMER_NEVER)
        timer_clear(&h2->timer);
    else
        set_timer(h2, due_ms);
}

static void on_read(h2o_socket_t *sock, const char *err);

static void resume(struct h2 *h2)
{
    if (h2->paused)
        h2o_socket_read_start(h2->io.sock, on_read);
    h2->paused = false;
}

/* Our last word is said: the client gets the time to read it before the connection goes. */
static void linger(struct h2 *h2)
{
    drop_session(h2);
    h2->state = H2_LINGER;
    resume(h2);
    set_timer(h2, now_ms(h2) + (h2->queue.len ? h2_timeouts(h2)->response_write_idle : LINGER_MS));
    if (h2->broken || io_end(&h2->io, &h2->queue))
        close_connection(h2);
}

static void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* nghttp2 may be in no state to say it. */
static void goodbye(struct h2 *h2)
{
    uint8_t frame[GOAWAY_LEN] = {0, 0, 8, NGHTTP2_GOAWAY};
    if (h2->blame)
        metrics_count(h2->worker->priv->stats.metrics, STATS_HTTP2_ABUSES, h2->blame, NULL);
    put32(frame + 9, (uint32_t)nghttp2_session_get_last_proc_stream_id(h2->session));
    put32(frame + 13, h2->error);
    h2_gather(h2, frame, sizeof(frame));
    h2_write(h2);
    linger(h2);
}

static void flush(struct h2 *h2)
{
    if (h2->state != H2_OPEN)
        return;
    if (h2->goaway == 2) {
        h2->goaway = 3;
        nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(h2->session),
                              NGHTTP2_NO_ERROR, NULL, 0);
    }
    do {
        if (!h2->failing)
            h2_settle(h2);
        h2_pump(h2);
    } while (h2->touched && !h2->failing);
    if (h2->failing) {
        goodbye(h2);
        return;
    }
    h2_write(h2);
    return_out(h2);
    if (h2->broken)
        close_connection(h2);
    else if (h2->queue.len == 0 && !nghttp2_session_want_read(h2->session) &&
             !nghttp2_session_want_write(h2->session))
        linger(h2);
    else
        arm(h2);
}

void h2_turn_end(struct worker *worker)
{
    struct h2_worker *shared = worker->priv->h2;
    while (shared && shared->dirty) {
        struct h2 *h2 = shared->dirty;
        shared->dirty = h2->dirty_next;
        h2->dirty = false;
        flush(h2);
    }
}

static void on_writable(h2o_socket_t *sock, const char *err)
{
    struct h2 *h2 = sock->data;
    size_t before = h2->queue.len;
    (void)err;
    worker_tick(h2->worker);
    h2->notified = false;
    if (io_flush(&h2->io, &h2->queue)) {
        close_connection(h2);
        return;
    }
    h2->taken += before - h2->queue.len;
    if (h2->queue.len == 0 || h2->taken >= h2_least(h2, h2_timeouts(h2)->response_write_idle))
        begin_anew(h2);
    if (h2->queue.len) {
        h2->notified = true;
        h2o_socket_notify_write(sock, on_writable);
        if (h2->state == H2_OPEN)
            arm(h2);
    } else if (h2->state == H2_LINGER) {
        linger(h2);
    } else {
        resume(h2);
        h2_mark(h2);
    }
}

static void feed(struct h2 *h2, const char *data, size_t len)
{
    ssize_t used = nghttp2_session_mem_recv(h2->session, (const uint8_t *)data, len);
    if (used == NGHTTP2_ERR_FLOODED)
        h2_fail(h2, NGHTTP2_ENHANCE_YOUR_CALM, "unread");
    else if (used == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
        h2_fail(h2, NGHTTP2_ENHANCE_YOUR_CALM, "continuation");
    else if (used == NGHTTP2_ERR_NOMEM || used == NGHTTP2_ERR_CALLBACK_FAILURE)
        h2_fail(h2, NGHTTP2_INTERNAL_ERROR, NULL);
    else if (used < 0)
        h2_fail(h2, NGHTTP2_PROTOCOL_ERROR, NULL);
    if (!h2->failing)
        h2_settle(h2);
    if (h2->queue.len && nghttp2_session_get_outbound_queue_size(h2->session) > QUEUE_MAX) {
        h2->paused = true;
        h2o_socket_read_stop(h2->io.sock);
    }
    h2_mark(h2);
}

static void on_read(h2o_socket_t *sock, const char *err)
{
    struct h2 *h2 = sock->data;
    struct worker_private *priv = h2->worker->priv;
    (void)err;
    worker_tick(h2->worker);
    ssize_t n = io_read(&h2->io, priv->buffer, WORKER_BUFFER);
    if (n == IO_AGAIN && !h2->broken)
        return;
    if (n > 0 && h2->state == H2_LINGER)
        h2->lingered += (size_t)n;
    if (n <= 0 || h2->broken || h2->lingered > LINGER_BYTES)
        close_connection(h2);
    else if (h2->state == H2_OPEN && !h2->failing)
        feed(h2, priv->buffer, (size_t)n);
}

static void on_timeout(struct timer *timer)
{
    struct h2 *h2 = H2O_STRUCT_FROM_MEMBER(struct h2, timer, timer);
    if (h2->state == H2_OPEN && due_of(h2) > now_ms(h2)) { /* it has spoken in this very turn */
        arm(h2);
        return;
    }
    if (h2->state == H2_LINGER || h2->queue.len) {
        close_connection(h2);
        return;
    }
    if (h2->block)
        h2_fail(h2, NGHTTP2_ENHANCE_YOUR_CALM, "slow_head");
    else if (h2->goaway == 1)
        h2->goaway = 2;
    else
        h2_fail(h2, NGHTTP2_NO_ERROR, NULL);
    h2_mark(h2);
}

/* A warning first, for requests that are on their way. */
static void begin_drain(struct h2 *h2)
{
    h2->goaway = 1;
    h2_since(h2);
    nghttp2_submit_shutdown_notice(h2->session);
    nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, NULL);
    h2_mark(h2);
}

void h2_new(struct worker *worker, struct io io, const struct peer *peer, const char *early,
            size_t early_len)
{
    struct h2_worker *shared = h2_shared(worker);
    struct h2 *h2 = mem_zalloc(sizeof(*h2));
    h2->worker = worker;
    h2->io = io;
    h2->peer = *peer;
    h2->first = true;
    h2->since_ms = now_ms(h2);
    h2->touched_end = &h2->touched;
    h2->timer.fire = on_timeout;
    h2->link = &shared->connections;
    h2->next = shared->connections;
    if (h2->next)
        h2->next->link = &h2->next;
    shared->connections = h2;
    metric_add(worker->priv->stats.protocols[STATS_HTTP2], 1);
    io_attach(&h2->io, worker->loop, h2);
    if (h2_session_open(h2, &h2->session)) {
        close_connection(h2);
        return;
    }
    h2o_socket_read_start(h2->io.sock, on_read);
    if (atomic_load_explicit(&worker->priv->proxy->draining, memory_order_relaxed))
        begin_drain(h2);
    if (early_len)
        feed(h2, early, early_len);
    h2_mark(h2);
}

void h2_drain_all(struct worker *worker)
{
    struct h2_worker *shared = worker->priv->h2;
    for (struct h2 *h2 = shared ? shared->connections : NULL; h2; h2 = h2->next)
        if (h2->state == H2_OPEN && !h2->goaway)
            begin_drain(h2);
}

void h2_close_all(struct worker *worker)
{
    struct h2_worker *shared = worker->priv->h2;
    while (shared && shared->connections)
        close_connection(shared->connections);
    if (shared)
        shared->dirty = NULL;
}
