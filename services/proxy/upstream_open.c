/* What a new connection to an origin begins with, before any request: the PROXY header that says
 * for whom it is, and the TLS handshake. Whatever fails here, nothing of a request was sent. */
#include "services/proxy/ingress.h"
#include "services/proxy/proxy_protocol.h"
#include "services/proxy/tls_conn.h"
#include "services/proxy/upstream.h"

#include "libcommon/log.h"

#include <string.h>

#define TELL_MS 1000 /* one failure in this time is told in the log, all are counted */

static struct tls_origin *tls_of(const struct upstream *upstream)
{
    const struct pool *pool = upstream->pool;
    for (size_t i = 0; i < pool->count; i++)
        if (pool->members[i].backend == upstream->backend)
            return pool->members[i].tls;
    return NULL;
}

static void count(const struct upstream *upstream, const char *result)
{
    metrics_count(upstream->worker->metrics, STATS_UPSTREAM_TLS, upstream->pool->name, result);
}

static void fail(struct upstream *upstream, const char *result, const char *detail)
{
    struct worker_private *priv = upstream->worker->priv;
    int64_t now_ms = worker_now_ms(upstream->worker);
    count(upstream, result);
    if (now_ms >= priv->tls_told_ms + TELL_MS) {
        priv->tls_told_ms = now_ms;
        log_warn("TLS with an origin failed", LOG_STR(POOL, upstream->pool->name),
                 LOG_STR(BACKEND, upstream->backend->authority.base), LOG_STR(ERROR, detail));
    }
    upstream_on_connect(upstream->io.sock, detail);
}

static void on_writable(h2o_socket_t *sock, const char *err);

static void handshake(struct upstream *upstream)
{
    struct tls_conn *conn = upstream->io.tls;
    const char *detail = NULL, *result;
    size_t got;
    switch (tls_conn_handshake(conn, upstream->io.fd, NULL, 0, upstream->worker->priv->buffer,
                               WORKER_BUFFER, &got)) {
    case TLS_STEP_READ:
        return;
    case TLS_STEP_WRITE:
        if (!upstream->notified)
            h2o_socket_notify_write(upstream->io.sock, on_writable);
        upstream->notified = true;
        return;
    case TLS_STEP_DONE:
        if (got) {
            fail(upstream, "other", "the origin spoke before it was asked");
            return;
        }
        count(upstream, SSL_session_reused(tls_conn_ssl(conn)) ? "resumed" : "full");
        upstream_on_connect(upstream->io.sock, NULL);
        return;
    case TLS_STEP_FAILED:
        result = tls_conn_failure(conn, &detail);
        fail(upstream, result, detail);
        return;
    }
}

static void on_writable(h2o_socket_t *sock, const char *err)
{
    struct upstream *upstream = sock->data;
    (void)err;
    worker_tick(upstream->worker);
    upstream->notified = false;
    handshake(upstream);
}

static void on_read(h2o_socket_t *sock, const char *err)
{
    struct upstream *upstream = sock->data;
    (void)err;
    worker_tick(upstream->worker);
    if (!upstream->notified)
        handshake(upstream);
}

static void start_tls(struct upstream *upstream, struct tls_origin *origin)
{
    struct worker *worker = upstream->worker;
    upstream->io.tls = tls_conn_connect(ingress_tls(worker), origin, worker->index, true);
    if (!upstream->io.tls) {
        fail(upstream, "other", "out of memory");
        return;
    }
    h2o_socket_read_start(upstream->io.sock, on_read);
    handshake(upstream);
}

size_t upstream_proxy_header(const struct pool *pool, const struct peer *peer, char *out)
{
    static const struct address unknown;
    unsigned version = pool->config->send_proxy == SEND_PROXY_V1 ? 1 : 2;
    struct proxy_header header = {
        .known = memcmp(&peer->address, &unknown, sizeof(unknown)) != 0,
        .source = peer->address,
        .destination = peer->local,
        .source_port = peer->port,
        .destination_port = peer->local_port,
    };
    if (pool->config->send_proxy == SEND_PROXY_OFF)
        return 0;
    /* Where we were reached is not known: nowhere in particular, in the same family. */
    if (memcmp(&peer->local, &unknown, sizeof(unknown)) == 0 && address_is_v4(&peer->address))
        memset(header.destination.bytes + 10, 0xff, 2);
    return proxy_protocol_write(version, &header, out);
}

/* In the clear, and with the connection's first packet: the socket has room for it. */
static int send_header(struct upstream *upstream)
{
    char text[PROXY_PROTOCOL_WRITE_MAX];
    size_t len = upstream_proxy_header(upstream->pool, upstream->exchange->peer, text);
    struct iovec iov = {text, len};
    if (len == 0)
        return 0;
    return io_send(upstream->io.fd, &upstream->out, &iov, 1, NULL) || upstream->out.len ? -1 : 0;
}

void upstream_on_open(h2o_socket_t *sock, const char *err)
{
    struct upstream *upstream = sock->data;
    struct tls_origin *origin = tls_of(upstream);
    worker_tick(upstream->worker);
    if (!err && send_header(upstream))
        err = "the PROXY header was not taken";
    if (err || !origin)
        upstream_on_connect(sock, err);
    else
        start_tls(upstream, origin);
}
