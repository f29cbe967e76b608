/* Connections to origins when no exchange uses them: opening, keeping, closing. The one used last
 * is used next, so that what is not needed grows old and is closed. */
#include "services/proxy/upstream.h"

#include "services/proxy/tls_conn.h"

#include "libcommon/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

/* A request that cannot be sent twice is not trusted to a connection idle for longer. */
#define FRESH_MS 1000

static struct backend_slot *slot_of(const struct upstream *upstream)
{
    return &upstream->worker->priv->backends[upstream->backend->id];
}

static struct stats_pool *stats_of(const struct upstream *upstream)
{
    return stats_pool(&upstream->worker->priv->stats, upstream->backend->pool);
}

static void unlink_idle(struct upstream *upstream)
{
    struct backend_slot *slot = slot_of(upstream);
    if (upstream->idle_prev)
        upstream->idle_prev->idle_next = upstream->idle_next;
    else
        slot->idle = upstream->idle_next;
    if (upstream->idle_next)
        upstream->idle_next->idle_prev = upstream->idle_prev;
    else
        slot->idle_last = upstream->idle_prev;
    slot->idle_count--;
    upstream->worker->priv->idle_upstreams--;
    upstream->idle = false;
    metric_add(stats_of(upstream)->idle, -1);
    metric_add(stats_of(upstream)->active, 1);
}

static void release(struct worker *worker, struct grave *grave)
{
    (void)worker;
    free(H2O_STRUCT_FROM_MEMBER(struct upstream, grave, grave));
}

void upstream_close(struct upstream *upstream)
{
    if (!upstream->io.sock)
        return;
    bool idle = upstream->idle;
    if (idle)
        unlink_idle(upstream);
    metric_add(stats_of(upstream)->active, -1);
    if (idle)
        io_close_idle(&upstream->io);
    else
        io_close(&upstream->io);
    timer_unlink(&upstream->worker->priv->timers, &upstream->timer);
    *upstream->link = upstream->next;
    if (upstream->next)
        upstream->next->link = upstream->link;
    io_queue_free(&upstream->out);
    splice_drop(&upstream->pipe);
    io_queue_free(&upstream->in);
    http1_body_free(&upstream->body);
    worker_bury(upstream->worker, &upstream->grave, release);
}

/* The name may stand for other addresses than when it was opened. */
static bool still_there(struct upstream *upstream)
{
    const struct backend_address *now =
        atomic_load_explicit(&upstream->backend->address, memory_order_acquire);
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    if (now->version == upstream->known)
        return true;
    if (getpeername(upstream->io.fd, (struct sockaddr *)&peer, &len))
        return false;
    upstream->known = now->version;
    for (unsigned i = 0; i < now->count; i++)
        if (now->list[i].len == len && memcmp(&now->list[i].addr, &peer, len) == 0)
            return true;
    return false;
}

struct upstream *upstream_take(struct worker *worker, const struct pool *pool,
                               struct backend *backend, bool repeatable)
{
    struct upstream *upstream;
    if (pool->config->send_proxy != SEND_PROXY_OFF)
        return NULL; /* what is idle is from before a reload, and told of nobody */
    while ((upstream = worker->priv->backends[backend->id].idle) && !still_there(upstream))
        upstream_close(upstream);
    if (!upstream)
        return NULL;
    if (!repeatable && worker_now_ms(worker) - upstream->idle_since_ms >= FRESH_MS)
        return NULL;
    unlink_idle(upstream);
    upstream->pool = pool;
    upstream->reused = true;
    timer_clear(&upstream->timer);
    return upstream;
}

bool upstream_trusted(const struct upstream *upstream)
{
    const struct tls_conn *tls = upstream->io.tls;
    return tls_origin_same(tls ? tls_conn_origin(tls) : NULL, slot_of(upstream)->tls);
}

/* All idle ones of a thread together are no more than clients may connect to it. */
static bool may_park(const struct upstream *upstream)
{
    const struct backend_slot *slot = slot_of(upstream);
    const struct worker_private *priv = upstream->worker->priv;
    const struct proxy *proxy = priv->proxy;
    if (upstream->idle_limit_ms <= 0 || priv->stopping)
        return false;
    /* The present configuration decides whether it is kept, not that of its last exchange. But one
     * that began with a PROXY header is of one client. */
    return slot->pool && slot->idle_count < slot->pool->max_idle && upstream_trusted(upstream) &&
           slot->pool->config->send_proxy == SEND_PROXY_OFF &&
           upstream->pool->config->send_proxy == SEND_PROXY_OFF &&
           priv->idle_upstreams < proxy->connection_limit / (int64_t)proxy->worker_count + 1;
}

void upstream_park(struct upstream *upstream)
{
    struct backend_slot *slot = slot_of(upstream);
    struct worker_private *priv = upstream->worker->priv;
    int64_t now_ms = worker_now_ms(upstream->worker);
    if (!may_park(upstream)) {
        upstream_close(upstream);
        return;
    }
    upstream->exchange = NULL;
    upstream->pool = NULL;
    upstream->idle = true;
    upstream->idle_since_ms = now_ms;
    upstream->idle_prev = NULL;
    upstream->idle_next = slot->idle;
    if (slot->idle)
        slot->idle->idle_prev = upstream;
    else
        slot->idle_last = upstream;
    slot->idle = upstream;
    slot->idle_count++;
    priv->idle_upstreams++;
    metric_add(stats_of(upstream)->active, -1);
    metric_add(stats_of(upstream)->idle, 1);
    timer_set(&priv->timers, &upstream->timer, now_ms + upstream->idle_limit_ms);
}

/* Gives up the oldest idle connection of some backend. */
static bool shed_idle(struct worker *worker)
{
    for (size_t i = 0; i < worker->priv->backend_count; i++) {
        if (!worker->priv->backends[i].idle_last)
            continue;
        upstream_close(worker->priv->backends[i].idle_last);
        return true;
    }
    return false;
}

static int open_one(struct backend *backend)
{
    const struct backend_address *address =
        atomic_load_explicit(&backend->address, memory_order_acquire);
    unsigned turn = atomic_fetch_add_explicit(&backend->turn, 1, memory_order_relaxed);
    const unsigned at = turn % address->count;
    int on = 1;
    int fd =
        socket(address->list[at].addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const void *sa = &address->list[at].addr;
    if (connect(fd, sa, address->list[at].len) == 0 || errno == EINPROGRESS)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

bool upstream_is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
           error == EADDRNOTAVAIL;
}

int upstream_socket(struct worker *worker, struct backend *backend)
{
    int fd = open_one(backend);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE) && shed_idle(worker))
        fd = open_one(backend);
    return fd;
}

struct upstream *upstream_connect(struct worker *worker, const struct pool *pool,
                                  struct backend *backend)
{
    struct worker_private *priv = worker->priv;
    const struct backend_address *known =
        atomic_load_explicit(&backend->address, memory_order_acquire);
    int fd = upstream_socket(worker, backend);
    if (fd < 0)
        return NULL;
    struct upstream *upstream = mem_zalloc(sizeof(*upstream));
    upstream->worker = worker;
    upstream->backend = backend;
    upstream->pool = pool;
    upstream->known = known->version;
    upstream->io.fd = fd;
    upstream->connecting = true;
    upstream->idle_limit_ms = pool->timeouts.keepalive_idle;
    upstream->timer.fire = upstream_on_timeout;
    upstream->io.sock = h2o_evloop_socket_create(
        worker->loop, fd, H2O_SOCKET_FLAG_DONT_READ | H2O_SOCKET_FLAG_IS_CONNECTING);
    upstream->io.sock->data = upstream;
    upstream->link = &priv->upstreams;
    upstream->next = priv->upstreams;
    if (upstream->next)
        upstream->next->link = &upstream->next;
    priv->upstreams = upstream;
    metric_add(stats_of(upstream)->active, 1);
    h2o_socket_notify_write(upstream->io.sock, upstream_on_open);
    timer_set(&priv->timers, &upstream->timer, worker_now_ms(worker) + pool->timeouts.connect);
    return upstream;
}

void upstream_close_all(struct worker *worker)
{
    while (worker->priv->upstreams)
        upstream_close(worker->priv->upstreams);
}
