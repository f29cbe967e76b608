/* The request side of a client's connection, and its life: it keeps being read while a request is
 * under way, so that a client who leaves is noticed, up to a bound. */
#include "services/proxy/client.h"

#include "libcommon/mem.h"
#include "services/proxy/h2.h"
#include "services/proxy/ingress.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define IN_MAX       (64 * 1024) /* read ahead of what is taken */
#define LINGER_BYTES (256 * 1024)
#define LINGER_MS    2000
#define BURST        32 /* pipelined requests in one turn of the loop */

static void run(struct client *client);

static int64_t now_ms(const struct client *client)
{
    return worker_now_ms(client->worker);
}

static void set_timer(struct client *client, int64_t after_ms)
{
    timer_set(&client->worker->priv->timers, &client->timer, now_ms(client) + after_ms);
}

static bool draining(const struct client *client)
{
    return atomic_load_explicit(&client->worker->priv->proxy->draining, memory_order_relaxed);
}

static const struct timeouts_config *timeouts_of(const struct client *client)
{
    return &client->worker->priv->generation->config->timeouts;
}

static char *input(struct client *client, size_t *len)
{
    *len = client->fresh ? client->fresh_len : client->in.len;
    return client->fresh ? client->fresh : client->in.data + client->in.at;
}

static void take(struct client *client, size_t len)
{
    if (!client->fresh) {
        io_queue_take(&client->in, len);
        return;
    }
    client->fresh += len;
    client->fresh_len -= (unsigned)len;
}

/* The worker's buffer is about to be used for something else. */
static void save(struct client *client)
{
    if (client->fresh && client->fresh_len)
        io_queue_add(&client->in, client->fresh, client->fresh_len);
    client->fresh = NULL;
    if (client->in.len == 0)
        io_queue_free(&client->in);
}

/* A drip does not move the deadline: within each idle time a least share has to pass. A body whose
 * answer is under way already may be a conversation, in which silence is allowed. */
static void wait_for(struct client *client, enum client_wait wait, int64_t idle_ms)
{
    const struct limits_config *limits = &client->worker->priv->generation->config->limits;
    int64_t least = limits->min_rate * idle_ms / 1000;
    if (wait == CLIENT_WAITS_BODY && client->exchange->responded)
        least = 1;
    if (client->waits_for == wait && (int64_t)client->progress < least)
        return;
    client->waits_for = wait;
    client->progress = 0;
    set_timer(client, idle_ms);
}

void client_arm(struct client *client)
{
    if (client->state != CLIENT_EXCHANGE)
        return;
    if (client_waiting(client))
        wait_for(client, CLIENT_WAITS_WRITE, timeouts_of(client)->response_write_idle);
    else if (!client->body.ended && client->body.kind != BODY_TUNNEL && !client->paused &&
             client->in.len == 0) {
        wait_for(client, CLIENT_WAITS_BODY, timeouts_of(client)->request_body_idle);
    } else {
        client->waits_for = CLIENT_WAITS_NOT;
        timer_clear(&client->timer);
    }
}

static void release(struct worker *worker, struct grave *grave)
{
    (void)worker;
    free(H2O_STRUCT_FROM_MEMBER(struct client, grave, grave));
}

static void bury(struct client *client)
{
    struct worker_private *priv = client->worker->priv;
    client->state = CLIENT_CLOSED;
    timer_unlink(&priv->timers, &client->timer);
    *client->link = client->next;
    if (client->next)
        client->next->link = client->link;
    io_queue_free(&client->in);
    io_queue_free(&client->out);
    splice_drop(&client->pipe);
    http1_body_free(&client->body);
    client->fresh = NULL;
    metric_add(priv->stats.protocols[STATS_HTTP1], -1);
    worker_bury(client->worker, &client->grave, release);
}

void client_close(struct client *client)
{
    if (client->state == CLIENT_CLOSED)
        return;
    io_close(&client->io);
    ingress_closed(client->worker);
    bury(client);
}

static void on_read(h2o_socket_t *sock, const char *err);

void client_resume(struct client *client)
{
    client->paused = false;
    if (!client->read_ended)
        h2o_socket_read_start(client->io.sock, on_read);
}

static void pause_reading(struct client *client)
{
    client->paused = true;
    h2o_socket_read_stop(client->io.sock);
}

/* A head has a limit of its own, which may be larger. */
static void pause_if_full(struct client *client)
{
    if (!client->paused && client->state != CLIENT_HEAD && client->in.len >= IN_MAX)
        pause_reading(client);
}

/* Our last word is said: the client gets the time to read it before the connection goes. */
static void linger(struct client *client)
{
    client->state = CLIENT_LINGER;
    io_queue_free(&client->in);
    client->fresh = NULL;
    set_timer(client,
              client_waiting(client) ? timeouts_of(client)->response_write_idle : LINGER_MS);
    if (client->pipe.held == 0 && io_end(&client->io, &client->out)) {
        client_close(client);
        return;
    }
    client->eof = client->read_ended;
    if (client->eof && client_waiting(client) == 0)
        client_close(client);
    else if (client->paused)
        client_resume(client);
}

void client_exchange_done(struct client *client)
{
    client->exchange = NULL;
    client->waits_for = CLIENT_WAITS_NOT;
    if (client->broken || client->cut) {
        client_close(client);
        return;
    }
    if (!client->keep || !client->body.ended) {
        linger(client);
        return;
    }
    http1_body_free(&client->body);
    client->state = CLIENT_IDLE;
    set_timer(client, draining(client) ? DRAIN_GRACE_MS : timeouts_of(client)->keepalive_idle);
    if (client->paused)
        client_resume(client);
    if (!client->busy && client->in.len)
        run(client);
}

static struct exchange *new_exchange(struct client *client)
{
    struct exchange *exchange = exchange_new(client->worker, &client_ops, client);
    exchange->peer = &client->peer;
    exchange->tls = client->peer.tls;
    client->exchange = exchange;
    client->state = CLIENT_EXCHANGE;
    client->first = false;
    client->chunked = client->unsized = client->bulk = false;
    return exchange;
}

/* Head and fields move into the request's pool: slices of them live as long as it does. */
static void adopt_head(struct exchange *exchange, const struct http1_head *head)
{
    h2o_mem_pool_t *pool = &exchange->request.pool;
    struct http1_head copy = *head;
    copy.base = h2o_mem_alloc_pool(pool, head->len);
    memcpy(copy.base, head->base, head->len);
    copy.fields = h2o_mem_alloc_pool(pool, head->count * sizeof(*head->fields));
    memcpy(copy.fields, head->fields, head->count * sizeof(*head->fields));
    exchange_set_head(exchange, &copy);
}

static void start(struct client *client, const struct http1_head *head)
{
    struct exchange *exchange = new_exchange(client);
    adopt_head(exchange, head);
    client->keep = head->keep_alive;
    http1_body_init(&client->body, head->body, head->content_length);
    take(client, head->len);
    exchange_start(exchange);
}

static void start_malformed(struct client *client, enum problem problem, const char *detail)
{
    struct exchange *exchange = new_exchange(client);
    exchange->malformed = (struct http1_error){problem, detail};
    exchange->head.minor = 1;
    exchange->body_ended = true;
    client->keep = false;
    http1_body_init(&client->body, BODY_NONE, 0);
    exchange_start(exchange);
}

/* Prior knowledge (RFC 9113 section 3.3): the connection begins with the preface of HTTP/2. */
static bool may_be_h2(const struct client *client, const char *data, size_t len)
{
    return client->first && !client->io.tls &&
           memcmp(data, H2_PREFACE, len < H2_PREFACE_LEN ? len : H2_PREFACE_LEN) == 0;
}

static void become_h2(struct client *client, const char *data, size_t len)
{
    struct io io = client->io;
    client->io = (struct io){.fd = -1};
    h2_new(client->worker, io, &client->peer, data, len);
    bury(client);
}

/* True where there may be more to do at once. */
static bool read_head(struct client *client)
{
    struct worker_private *priv = client->worker->priv;
    struct http1_head head = {.fields = priv->fields};
    struct http1_error error = {.detail = NULL};
    size_t len;
    char *data = input(client, &len);
    if (len == 0 || client_waiting(client))
        return false;
    if (may_be_h2(client, data, len)) {
        client->state = CLIENT_HEAD;
        if (len >= H2_PREFACE_LEN)
            become_h2(client, data, len);
        return false;
    }
    switch (http1_parse_request(data, len, &priv->limits, &head, &error)) {
    case HTTP1_MORE:
        if (client->state == CLIENT_IDLE && !client->first)
            set_timer(client, timeouts_of(client)->request_head);
        client->state = CLIENT_HEAD;
        if (client->paused)
            client_resume(client);
        return false;
    case HTTP1_ERROR:
        start_malformed(client, error.problem, error.detail);
        return false;
    case HTTP1_DONE:
        start(client, &head);
        return true;
    }
    return false;
}

static bool step(struct client *client)
{
    switch (client->state) {
    case CLIENT_IDLE:
    case CLIENT_HEAD:
        return read_head(client);
    case CLIENT_EXCHANGE:
        if (!client->body.ended)
            upstream_body_ready(client->exchange);
        return client->state == CLIENT_IDLE;
    case CLIENT_LINGER:
    case CLIENT_CLOSED:
        break;
    }
    return false;
}

/* Others wait: on with it in the next turn. */
static void yield_turn(struct client *client);

static void run(struct client *client)
{
    unsigned count = 0;
    client->busy = true;
    while (step(client) && client->state == CLIENT_IDLE && ++count < BURST)
        ;
    client->busy = false;
    if (client->state == CLIENT_CLOSED)
        return;
    save(client);
    pause_if_full(client);
    client_arm(client);
    if (count == BURST && client->in.len)
        yield_turn(client);
}

static void on_turn(h2o_socket_t *sock, const char *err)
{
    struct client *client = sock->data;
    (void)err;
    worker_tick(client->worker);
    client->notified = false;
    client_want_write(client);
    if (client->state == CLIENT_IDLE)
        run(client);
}

static void yield_turn(struct client *client)
{
    if (client->notified)
        return;
    client->notified = true;
    h2o_socket_notify_write(client->io.sock, on_turn);
}

/* From the socket into the pipe that is offered, no further than to the end of the body. */
static int pull_spliced(struct client *client, struct piece *piece)
{
    struct http1_body *body = &client->body;
    size_t most = exchange_splice_most(client->exchange, body->left);
    piece->len = splice_read(piece->pipe, client->io.fd, most);
    client->bulk = piece->len >= SPLICE_SPARSE;
    if (piece->len == 0)
        return 0;
    client->unread = false;
    client->progress += piece->len;
    body->left -= piece->len;
    piece->end = body->ended = body->left == 0;
    return 1;
}

/* Nothing of the body has been read. */
static int pull_more(struct client *client, struct piece *piece)
{
    client->body.ended = piece->end = client->read_ended;
    if (!piece->end && piece->pipe && client->unread)
        return pull_spliced(client, piece);
    if (client->paused)
        client_resume(client);
    if (!client->busy)
        client_arm(client);
    return piece->end;
}

int client_pull(struct exchange *exchange, struct piece *piece)
{
    struct client *client = exchange->downstream;
    struct chunk_decoder *chunks = &client->body.chunks;
    size_t len, consumed;
    char *data = input(client, &len);
    if (client->body.ended)
        return 0;
    if (len == 0)
        return pull_more(client, piece);
    if (len > WORKER_BUFFER) /* no piece is larger than what is read at once */
        len = WORKER_BUFFER;
    if (http1_body_read(&client->body, data, len, &consumed, &piece->data, &piece->len)) {
        client->keep = false;
        return -1;
    }
    take(client, consumed);
    client->progress += piece->len;
    piece->end = client->body.ended;
    if (piece->end && chunks->trailers_len) {
        if (http1_check_trailers(chunks->trailers, &chunks->trailers_len)) {
            client->keep = false;
            return -1;
        }
        piece->trailers = h2o_iovec_init(chunks->trailers, chunks->trailers_len);
    }
    if (client->paused)
        client_resume(client);
    if (!client->busy)
        client_arm(client);
    return piece->len || piece->end;
}

/* In a tunnel each direction ends by itself. */
static void on_read_end(struct client *client)
{
    client->read_ended = true;
    h2o_socket_read_stop(client->io.sock);
    run(client);
}

/* The client has closed its direction, or the connection is broken. */
static void on_end(struct client *client)
{
    if (client->exchange) {
        client->broken = true;
        exchange_gone(client->exchange);
    } else if (client_waiting(client) && !client->broken) {
        client->eof = true;
        client->state = CLIENT_LINGER;
        h2o_socket_read_stop(client->io.sock);
        set_timer(client, timeouts_of(client)->response_write_idle);
    } else {
        client_close(client);
    }
}

static void on_linger_read(struct client *client)
{
    ssize_t n = io_read(&client->io, client->worker->priv->buffer, WORKER_BUFFER);
    if (n == IO_AGAIN)
        return;
    if (n > 0)
        client->lingered += (unsigned)n;
    if (n == 0 && client_waiting(client)) { /* it asks for no more, and may still read */
        client->eof = true;
        h2o_socket_read_stop(client->io.sock);
        return;
    }
    if (n <= 0 || client->lingered > LINGER_BYTES)
        client_close(client);
}

static bool is_bulk(const struct client *client)
{
    return client->bulk && client->state == CLIENT_EXCHANGE && !client->broken && !client->io.tls &&
           client->in.len == 0 && client->body.kind == BODY_LENGTH && !client->body.ended &&
           client->exchange->body_length >= BODY_BULK;
}

/* True where nothing is left to be read now. */
static bool splice_body(struct client *client)
{
    if (upstream_piped(client->exchange)) {
        pause_reading(client);
        client_arm(client);
        return true;
    }
    client->unread = true;
    run(client);
    bool done = !client->unread || client->state != CLIENT_EXCHANGE;
    client->unread = false;
    return done;
}

static void on_read(h2o_socket_t *sock, const char *err)
{
    struct client *client = sock->data;
    struct worker_private *priv = client->worker->priv;
    (void)err;
    worker_tick(client->worker);
    if (client->state == CLIENT_LINGER) {
        on_linger_read(client);
        return;
    }
    if (is_bulk(client) && splice_body(client))
        return;
    size_t room = IN_MAX > client->in.len + IO_READ_MIN ? IN_MAX - client->in.len : IO_READ_MIN;
    ssize_t n = io_read(&client->io, priv->buffer, room);
    if (n == IO_AGAIN && !client->broken)
        return;
    if (n == 0 && !client->broken && client->exchange && client->body.kind == BODY_TUNNEL) {
        on_read_end(client);
        return;
    }
    if (n <= 0 || client->broken) {
        on_end(client);
        return;
    }
    client->bulk = n >= SPLICE_BULK;
    if (client->in.len == 0) {
        client->fresh = priv->buffer;
        client->fresh_len = (unsigned)n;
    } else {
        io_queue_add(&client->in, priv->buffer, (size_t)n);
        /* A head ends with a line: without one there is nothing new to parse. */
        if (client->state == CLIENT_HEAD && !memchr(priv->buffer, '\n', (size_t)n) &&
            client->in.len <= priv->limits.head_bytes)
            return;
    }
    run(client);
}

void client_finish_write(struct client *client)
{
    if (client->broken) {
        on_end(client);
        return;
    }
    client_want_write(client);
    if (client_waiting(client)) {
        if (client->state != CLIENT_EXCHANGE)
            set_timer(client, timeouts_of(client)->response_write_idle);
        else
            client_arm(client);
        return;
    }
    client_arm(client);
    if (client->eof)
        client_close(client);
    else if (client->state == CLIENT_LINGER)
        linger(client);
    else if (client->state == CLIENT_IDLE) {
        set_timer(client, timeouts_of(client)->keepalive_idle);
        run(client);
    }
}

static void on_exchange_timeout(struct client *client)
{
    struct exchange *exchange = client->exchange;
    if (client_waiting(client) || exchange->responded) {
        client->broken = true;
        exchange_gone(exchange);
        return;
    }
    request_refuse(&exchange->request, PROBLEM_REQUEST_TIMEOUT, "the body stopped coming");
    request_resume(&exchange->request, ROOM_REJECT);
}

/* Nothing is under way, and the client may know it. */
static void close_idle(struct client *client)
{
    io_close_idle(&client->io);
    client_close(client);
}

static void on_timeout(struct timer *timer)
{
    struct client *client = H2O_STRUCT_FROM_MEMBER(struct client, timer, timer);
    switch (client->state) {
    case CLIENT_HEAD:
        start_malformed(client, PROBLEM_REQUEST_TIMEOUT, NULL);
        break;
    case CLIENT_EXCHANGE:
        on_exchange_timeout(client);
        break;
    case CLIENT_IDLE:
        close_idle(client);
        break;
    case CLIENT_LINGER:
        client_close(client);
        break;
    case CLIENT_CLOSED:
        break;
    }
}

void client_new(struct worker *worker, struct io io, const struct peer *peer, const char *early,
                size_t early_len)
{
    struct worker_private *priv = worker->priv;
    struct client *client = mem_zalloc(sizeof(*client));
    client->worker = worker;
    client->io = io;
    client->peer = *peer;
    client->first = true;
    client->body.ended = true;
    client->timer.fire = on_timeout;
    client->link = &priv->clients;
    client->next = priv->clients;
    if (client->next)
        client->next->link = &client->next;
    priv->clients = client;
    io_attach(&client->io, worker->loop, client);
    metric_add(priv->stats.protocols[STATS_HTTP1], 1);
    set_timer(client, draining(client) ? DRAIN_GRACE_MS : timeouts_of(client)->request_head);
    h2o_socket_read_start(client->io.sock, on_read);
    if (early_len) {
        io_queue_add(&client->in, early, early_len);
        run(client);
    }
}

/* A client who was served just now may have sent its next request already. A timer that is due
 * within the grace may be the grace itself: served after the drain was called, before this thread
 * heard of it. */
static bool is_idle(const struct client *client)
{
    int64_t since = client->timer.due_ms - timeouts_of(client)->keepalive_idle;
    return !client->first && client_waiting(client) == 0 &&
           client->timer.due_ms - now_ms(client) > DRAIN_GRACE_MS &&
           now_ms(client) - since >= DRAIN_GRACE_MS;
}

void client_drain_all(struct worker *worker)
{
    struct client *next;
    for (struct client *client = worker->priv->clients; client; client = next) {
        next = client->next;
        if (client->state != CLIENT_IDLE)
            continue;
        if (is_idle(client))
            close_idle(client);
        else
            set_timer(client, DRAIN_GRACE_MS);
    }
}

void client_close_all(struct worker *worker)
{
    while (worker->priv->clients) {
        struct client *client = worker->priv->clients;
        client->broken = true;
        if (client->exchange)
            exchange_gone(client->exchange);
        client_close(client);
    }
}
