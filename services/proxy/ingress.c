/* A connection in the clear is handed on at once; one that begins with a PROXY header or a TLS
 * handshake waits here first. Waiting ones are bounded: one more, and the oldest has to go, so that
 * those who come and say nothing do not keep out those who do. */
#include "services/proxy/ingress.h"

#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "services/proxy/client.h"
#include "services/proxy/h2.h"
#include "services/proxy/ip_slot.h"
#include "services/proxy/proxy_protocol.h"
#include "services/proxy/tcp.h"
#include "services/proxy/tls_conn.h"

#include <string.h>

#define WAITING_MAX 2048 /* for each worker */

enum ingress_state { INGRESS_HEADER, INGRESS_TLS, INGRESS_OVER };

struct ingress {
    struct grave grave;
    struct io io;
    enum ingress_state state;
    struct worker *worker;
    struct ingress *next, *prev;
    struct timer timer;
    struct tls_server *server;           /* NULL: no TLS */
    const struct generation *generation; /* held: that of peer.listener */
    struct peer peer;
    struct io_queue in;    /* as the wire has it: of a header, or behind one */
    struct io_queue early; /* for the protocol: behind header and handshake */
    bool notified;         /* waits for writability */
};

static const char *stage_of(const struct ingress *ingress)
{
    return ingress->state == INGRESS_HEADER ? "proxy_protocol" : "tls";
}

void ingress_closed(struct worker *worker)
{
    struct worker_private *priv = worker->priv;
    metric_add(priv->stats.connections, -1);
    atomic_fetch_sub_explicit(&priv->proxy->connections, 1, memory_order_relaxed);
}

struct tls_thread *ingress_tls(struct worker *worker)
{
    if (!worker->priv->tls)
        worker->priv->tls = tls_thread_new();
    return worker->priv->tls;
}

static void release(struct worker *worker, struct grave *grave)
{
    struct ingress *ingress = H2O_STRUCT_FROM_MEMBER(struct ingress, grave, grave);
    generation_drop(ingress->generation, worker->index);
    free(ingress);
}

/* It leaves the list; the connection is somebody else's already, or closed. */
static void end(struct ingress *ingress)
{
    struct worker_private *priv = ingress->worker->priv;
    *(ingress->prev ? &ingress->prev->next : &priv->ingress) = ingress->next;
    *(ingress->next ? &ingress->next->prev : &priv->ingress_last) = ingress->prev;
    priv->ingress_count--;
    ingress->state = INGRESS_OVER;
    timer_unlink(&priv->timers, &ingress->timer);
    tls_server_unref(&ingress->server);
    io_queue_free(&ingress->in);
    io_queue_free(&ingress->early);
    worker_bury(ingress->worker, &ingress->grave, release);
}

static void give_up(struct ingress *ingress, const char *reason, const char *detail)
{
    char client[sizeof(ingress->peer.text) + 1];
    metrics_count(ingress->worker->metrics, STATS_INGRESS_FAILURES, stage_of(ingress), reason);
    memcpy(client, ingress->peer.text, ingress->peer.text_len);
    client[ingress->peer.text_len] = '\0';
    log_debug("a connection ended before its first request", LOG_STR(CLIENT, client),
              LOG_STR(STATE, stage_of(ingress)), LOG_STR(ERROR, detail ? detail : reason));
    io_close(&ingress->io);
    ingress_closed(ingress->worker);
    end(ingress);
}

static void on_timeout(struct timer *timer)
{
    give_up(H2O_STRUCT_FROM_MEMBER(struct ingress, timer, timer), "timeout", NULL);
}

static void set_deadline(struct ingress *ingress, int64_t after_ms)
{
    timer_set(&ingress->worker->priv->timers, &ingress->timer,
              worker_now_ms(ingress->worker) + after_ms);
}

static const struct timeouts_config *timeouts_of(const struct worker *worker)
{
    return &worker->priv->generation->config->timeouts;
}

static void note_tls(struct ingress *ingress)
{
    const SSL *ssl = tls_conn_ssl(ingress->io.tls);
    struct peer *peer = &ingress->peer;
    peer->tls = true;
    peer->tls_version = SSL_get_version(ssl);
    peer->tls_cipher = SSL_get_cipher_name(ssl);
    peer->sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    peer->client_verified = certificate && SSL_get_verify_result(ssl) == X509_V_OK;
    metrics_count(ingress->worker->metrics, STATS_TLS_HANDSHAKES, peer->tls_version,
                  SSL_session_reused(ssl) ? "yes" : "no");
}

static bool chose_h2(const struct io *io)
{
    const unsigned char *name = NULL;
    unsigned len = 0;
    if (io->tls)
        SSL_get0_alpn_selected(tls_conn_ssl(io->tls), &name, &len);
    return len == 2 && memcmp(name, "h2", 2) == 0;
}

static void hand_on(struct worker *worker, struct io io, const struct peer *peer, const char *early,
                    size_t early_len)
{
    switch ((enum listener_mode)peer->listener->mode) {
    case LISTENER_HTTP:
        if (chose_h2(&io))
            h2_new(worker, io, peer, early, early_len);
        else
            client_new(worker, io, peer, early, early_len);
        break;
    case LISTENER_TCP:
        tcp_new(worker, io, peer, early, early_len);
        break;
    }
}

static void hand_over(struct ingress *ingress)
{
    struct io io = ingress->io;
    struct io_queue early = ingress->early;
    struct peer peer = ingress->peer;
    struct worker *worker = ingress->worker;
    ingress->early = (struct io_queue){.len = 0};
    end(ingress);
    hand_on(worker, io, &peer, early.len ? early.data + early.at : NULL, early.len);
    io_queue_free(&early);
}

static void on_writable(h2o_socket_t *sock, const char *err);

static void handshake(struct ingress *ingress)
{
    char *buf = ingress->worker->priv->buffer;
    const char *reason, *detail;
    size_t got;
    const char *wire = ingress->in.len ? ingress->in.data + ingress->in.at : NULL;
    enum tls_step step = tls_conn_handshake(ingress->io.tls, ingress->io.fd, wire, ingress->in.len,
                                            buf, WORKER_BUFFER, &got);
    io_queue_free(&ingress->in);
    io_queue_add(&ingress->early, buf, got);
    switch (step) {
    case TLS_STEP_READ:
        break;
    case TLS_STEP_WRITE:
        if (!ingress->notified)
            h2o_socket_notify_write(ingress->io.sock, on_writable);
        ingress->notified = true;
        break;
    case TLS_STEP_DONE:
        note_tls(ingress);
        hand_over(ingress);
        break;
    case TLS_STEP_FAILED:
        reason = tls_conn_failure(ingress->io.tls, &detail);
        give_up(ingress, reason, detail);
        break;
    }
}

static void on_writable(h2o_socket_t *sock, const char *err)
{
    struct ingress *ingress = sock->data;
    (void)err;
    worker_tick(ingress->worker);
    ingress->notified = false;
    if (ingress->state == INGRESS_TLS)
        handshake(ingress);
}

/* A connection that says nothing costs no TLS state: that is made with its first byte. */
static void begin_tls(struct ingress *ingress)
{
    ingress->state = INGRESS_TLS;
    set_deadline(ingress, timeouts_of(ingress->worker)->tls_handshake);
}

static void on_tls_read(struct ingress *ingress)
{
    if (ingress->notified)
        return;
    if (!ingress->io.tls)
        ingress->io.tls = tls_conn_accept(ingress_tls(ingress->worker), ingress->server);
    if (ingress->io.tls)
        handshake(ingress);
    else
        give_up(ingress, "other", "out of memory");
}

/* What the header says is believed from now on. */
static void take_header(struct ingress *ingress, const struct proxy_header *header)
{
    struct peer *peer = &ingress->peer;
    io_queue_take(&ingress->in, header->len);
    if (!header->known)
        return;
    peer->address = header->source;
    peer->port = header->source_port;
    peer->local = header->destination;
    peer->local_port = header->destination_port;
    peer->text_len = (uint8_t)address_text(&peer->address, peer->text);
}

/* False where this client's address has as many connections as it may. A proxy that we trust has
 * many clients. */
static bool take_slot(struct worker *worker, const struct peer *peer, struct io *io)
{
    const struct generation *generation = worker->priv->generation;
    int64_t limit = generation->config->limits.connections_per_ip;
    if (limit == 0 || cidr_contains(&generation->trusted, &peer->address))
        return true;
    io->slot = ip_slot_take(worker->priv->proxy->ip_slots, &peer->address, limit);
    if (!io->slot)
        metric_add(worker->priv->stats.refused, 1);
    return io->slot;
}

static void after_header(struct ingress *ingress)
{
    if (!take_slot(ingress->worker, &ingress->peer, &ingress->io)) {
        give_up(ingress, "limit", NULL);
        return;
    }
    if (!ingress->server) {
        ingress->early = ingress->in;
        ingress->in = (struct io_queue){.len = 0};
        hand_over(ingress);
        return;
    }
    begin_tls(ingress);
    if (ingress->in.len)
        on_tls_read(ingress);
    else
        io_queue_free(&ingress->in);
}

static void on_header_read(struct ingress *ingress)
{
    struct proxy_header header;
    char *buf = ingress->worker->priv->buffer;
    /* In the clear, whatever follows. */
    ssize_t n = io_read(&(struct io){.fd = ingress->io.fd}, buf, PROXY_PROTOCOL_MAX);
    if (n == IO_AGAIN)
        return;
    if (n <= 0) {
        give_up(ingress, "closed", NULL);
        return;
    }
    io_queue_add(&ingress->in, buf, (size_t)n);
    switch (proxy_protocol_parse(ingress->in.data, ingress->in.len, &header)) {
    case PROXY_PROTOCOL_MORE:
        break;
    case PROXY_PROTOCOL_BAD:
        give_up(ingress, "malformed", NULL);
        break;
    case PROXY_PROTOCOL_DONE:
        take_header(ingress, &header);
        after_header(ingress);
        break;
    }
}

static void on_read(h2o_socket_t *sock, const char *err)
{
    struct ingress *ingress = sock->data;
    (void)err;
    worker_tick(ingress->worker);
    switch (ingress->state) {
    case INGRESS_HEADER:
        on_header_read(ingress);
        break;
    case INGRESS_TLS:
        on_tls_read(ingress);
        break;
    case INGRESS_OVER:
        break;
    }
}

static struct ingress *enqueue(struct listener *listener, struct io io, const struct peer *peer)
{
    struct worker_private *priv = listener->worker->priv;
    struct ingress *ingress = mem_zalloc(sizeof(*ingress));
    if (priv->ingress_count >= WAITING_MAX)
        give_up(priv->ingress, "crowded", NULL);
    ingress->worker = listener->worker;
    ingress->generation = priv->generation;
    generation_hold(ingress->generation, ingress->worker->index);
    ingress->peer = *peer;
    ingress->io = io;
    ingress->timer.fire = on_timeout;
    ingress->server = listener->tls ? tls_server_ref(listener->tls) : NULL;
    ingress->prev = priv->ingress_last;
    *(ingress->prev ? &ingress->prev->next : &priv->ingress) = ingress;
    priv->ingress_last = ingress;
    priv->ingress_count++;
    io_attach(&ingress->io, ingress->worker->loop, ingress);
    h2o_socket_read_start(ingress->io.sock, on_read);
    return ingress;
}

/* Where a list of trusted proxies is set, only they are believed. */
static bool may_speak(const struct worker *worker, const struct peer *peer)
{
    const struct cidr_list *trusted = &worker->priv->generation->trusted;
    return trusted->count == 0 || cidr_contains(trusted, &peer->address);
}

void ingress_new(struct listener *listener, int fd, const struct sockaddr *sa)
{
    struct worker *worker = listener->worker;
    struct peer peer = {.listener = listener->config};
    struct io io = {.fd = fd};
    bool header = listener->config->proxy_protocol == PROXY_PROTOCOL_REQUIRED;
    metric_add(worker->priv->stats.connections, 1);
    peer_set(&peer, sa);
    if (worker->priv->generation->pools->send_proxy)
        peer_local(&peer, fd);
    if (!header && !take_slot(worker, &peer, &io)) {
        io_close(&io);
        ingress_closed(worker);
        return;
    }
    if (!header && !listener->tls) {
        hand_on(worker, io, &peer, NULL, 0);
        return;
    }
    struct ingress *ingress = enqueue(listener, io, &peer);
    if (!header) {
        begin_tls(ingress);
        return;
    }
    set_deadline(ingress, timeouts_of(worker)->request_head);
    if (!may_speak(worker, &peer))
        give_up(ingress, "untrusted", NULL);
}

void ingress_drain_all(struct worker *worker)
{
    struct ingress *next;
    for (struct ingress *ingress = worker->priv->ingress; ingress; ingress = next) {
        next = ingress->next;
        if (!ingress->io.tls && ingress->in.len == 0)
            set_deadline(ingress, DRAIN_GRACE_MS);
    }
}

void ingress_close_all(struct worker *worker)
{
    while (worker->priv->ingress)
        give_up(worker->priv->ingress, "closed", "the proxy ends");
}
