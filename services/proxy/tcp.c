/* Two sockets and what is between them. A direction reads only while the other socket takes what
 * was read: at most a buffer or a pipe of it waits here. */
#include "services/proxy/tcp.h"

#include "libcommon/mem.h"
#include "services/proxy/access_log.h"
#include "services/proxy/balance.h"
#include "services/proxy/generation.h"
#include "services/proxy/ingress.h"
#include "services/proxy/proxy_protocol.h"
#include "services/proxy/splice.h"
#include "services/proxy/upstream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define OUT_LOW      (16 * 1024) /* less than this waiting: read on */
#define OUT_HIGH     (64 * 1024)
#define ATTEMPTS_MAX 4

enum { CLIENT, ORIGIN };

/* One socket: what is read from it, and what waits to be written to it. */
struct tcp_side {
    struct tcp *tcp;
    struct io io;
    struct io_queue out;
    struct splice_pipe pipe; /* to be written to it, before `out` */
    uint64_t bytes;          /* read from it */
    bool bulk;               /* it sends much: spliced */
    bool paused;             /* not read: the other one takes no more */
    bool notified;           /* waits for writability */
    bool read_ended, write_ended;
};

struct tcp {
    struct grave grave;
    struct worker *worker;
    struct tcp *next, **link; /* all of the worker */
    const struct generation *generation;
    const struct pool *pool;
    struct timer timer;
    struct peer peer;
    struct tcp_side sides[2];
    struct place place;
    struct backend *tried[BALANCE_TRIED_MAX];
    unsigned attempts;
    bool connecting, over;
    enum problem problem;
    int64_t start_ns, connect_start_ns, connect_ns;
};

static struct stats_pool *stats_of(const struct tcp *tcp)
{
    return stats_pool(&tcp->worker->priv->stats, tcp->pool->state);
}

static struct tcp_side *other(const struct tcp_side *side)
{
    return &side->tcp->sides[side == &side->tcp->sides[CLIENT] ? ORIGIN : CLIENT];
}

static void set_timer(struct tcp *tcp, int64_t after_ms)
{
    timer_set(&tcp->worker->priv->timers, &tcp->timer, worker_now_ms(tcp->worker) + after_ms);
}

static void set_idle(struct tcp *tcp)
{
    set_timer(tcp, tcp->generation->config->timeouts.tunnel_idle);
}

static void release(struct worker *worker, struct grave *grave)
{
    struct tcp *tcp = H2O_STRUCT_FROM_MEMBER(struct tcp, grave, grave);
    generation_drop(tcp->generation, worker->index);
    free(tcp);
}

static void write_log(const struct tcp *tcp)
{
    union {
        const char *in;
        char *out;
    } client = {.in = tcp->peer.text};

    struct access_line line = {
        .client = h2o_iovec_init(client.out, tcp->peer.text_len),
        .protocol = "TCP",
        .tls = tcp->peer.tls_version,
        .problem = tcp->problem ? problem_get(tcp->problem)->name : NULL,
        .pool = tcp->pool->name,
        .backend = tcp->place.backend ? tcp->place.backend->authority.base : NULL,
        .attempts = tcp->attempts,
        .bytes_in = tcp->sides[CLIENT].bytes,
        .bytes_out = tcp->sides[ORIGIN].bytes,
        .total_ns = tcp->worker->now_ns - tcp->start_ns,
        .connect_ns = tcp->connect_ns,
        .head_ns = -1,
        .aborted = !tcp->sides[CLIENT].write_ended || !tcp->sides[ORIGIN].write_ended,
    };
    access_log_tunnel(tcp->worker, &tcp->generation->config->access_log, &line);
}

static void close_side(struct tcp_side *side)
{
    io_close(&side->io);
    io_queue_free(&side->out);
    splice_drop(&side->pipe);
}

static void close_origin(struct tcp *tcp)
{
    if (tcp->sides[ORIGIN].io.sock)
        metric_add(stats_of(tcp)->active, -1);
    close_side(&tcp->sides[ORIGIN]);
}

static void finish(struct tcp *tcp)
{
    struct worker_private *priv = tcp->worker->priv;
    if (tcp->over)
        return;
    tcp->over = true;
    write_log(tcp);
    close_origin(tcp);
    close_side(&tcp->sides[CLIENT]);
    balance_give_back(tcp->worker, &tcp->place);
    timer_unlink(&priv->timers, &tcp->timer);
    *tcp->link = tcp->next;
    if (tcp->next)
        tcp->next->link = tcp->link;
    metric_add(priv->stats.protocols[STATS_TCP], -1);
    metric_add(priv->stats.bytes_in, (int64_t)tcp->sides[CLIENT].bytes);
    metric_add(priv->stats.bytes_out, (int64_t)tcp->sides[ORIGIN].bytes);
    if (tcp->problem)
        stats_count_refusal(&priv->stats, tcp->problem);
    ingress_closed(tcp->worker);
    worker_bury(tcp->worker, &tcp->grave, release);
}

/* An end that was none is passed on as what it is. */
static void abort_both(struct tcp *tcp)
{
    const struct linger linger = {.l_onoff = 1};
    for (int i = CLIENT; i <= ORIGIN; i++)
        if (tcp->sides[i].io.sock)
            setsockopt(tcp->sides[i].io.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    finish(tcp);
}

static size_t waiting_for(const struct tcp_side *side)
{
    return side->out.len + side->pipe.held;
}

static void on_writable(h2o_socket_t *sock, const char *err);
static void on_read(h2o_socket_t *sock, const char *err);

static void want_write(struct tcp_side *side)
{
    if (waiting_for(side) == 0 || side->notified)
        return;
    side->notified = true;
    h2o_socket_notify_write(side->io.sock, on_writable);
}

static void pause_reading(struct tcp_side *side)
{
    if (!side->paused && !side->read_ended)
        h2o_socket_read_stop(side->io.sock);
    side->paused = true;
}

/* After something was read from `side` and written, as far as it went. -1: it is over. */
static int after_move(struct tcp_side *side)
{
    struct tcp_side *to = other(side);
    if (side->read_ended && !to->write_ended && waiting_for(to) == 0) {
        to->write_ended = true;
        if (io_end(&to->io, &to->out))
            return -1;
    }
    if (to->pipe.held || to->out.len > OUT_HIGH)
        pause_reading(side);
    want_write(to);
    set_idle(side->tcp);
    return 0;
}

static int write_out(struct tcp_side *to, char *data, size_t len)
{
    struct iovec iov = {data, len};
    return io_write(&to->io, &to->out, &iov, 1, NULL);
}

/* As io_read, with the bytes on the way to the other side. */
static ssize_t move(struct tcp_side *side)
{
    struct tcp_side *to = other(side);
    char *buf = side->tcp->worker->priv->buffer;
    bool clear = !side->io.tls && !to->io.tls && to->out.len == 0;
    if (side->bulk && clear) {
        size_t moved = splice_read(&to->pipe, side->io.fd, SPLICE_MAX);
        side->bulk = moved >= SPLICE_SPARSE;
        if (moved)
            return splice_write(&to->pipe, to->io.fd) ? -1 : (ssize_t)moved;
    }
    ssize_t n = io_read(&side->io, buf, WORKER_BUFFER);
    side->bulk = n >= SPLICE_BULK;
    return n > 0 && write_out(to, buf, (size_t)n) ? -1 : n;
}

static void on_read(h2o_socket_t *sock, const char *err)
{
    struct tcp_side *side = sock->data;
    struct tcp *tcp = side->tcp;
    (void)err;
    worker_tick(tcp->worker);
    ssize_t n = move(side);
    if (n == IO_AGAIN)
        return;
    if (n < 0) {
        abort_both(tcp);
        return;
    }
    side->bytes += (uint64_t)n;
    if (n == 0) {
        side->read_ended = true;
        h2o_socket_read_stop(sock);
    }
    if (after_move(side) || (side->write_ended && other(side)->write_ended))
        finish(tcp);
}

static void on_writable(h2o_socket_t *sock, const char *err)
{
    struct tcp_side *to = sock->data;
    struct tcp_side *side = other(to);
    (void)err;
    worker_tick(to->tcp->worker);
    to->notified = false;
    if (splice_write(&to->pipe, to->io.fd) || (to->pipe.held == 0 && io_flush(&to->io, &to->out))) {
        abort_both(to->tcp);
        return;
    }
    if (side->paused && to->pipe.held == 0 && to->out.len <= OUT_LOW) {
        side->paused = false;
        if (!side->read_ended)
            h2o_socket_read_start(side->io.sock, on_read);
    }
    if (after_move(side) || (side->write_ended && to->write_ended))
        finish(to->tcp);
}

static void refuse(struct tcp *tcp, enum problem problem)
{
    tcp->problem = problem;
    finish(tcp);
}

/* Not one byte was sent: another backend may do. */
static void give_up_backend(struct tcp *tcp)
{
    metric_add(stats_of(tcp)->failed, 1);
    balance_report(tcp->worker, &tcp->place, FITNESS_UNREACHABLE);
    balance_give_back(tcp->worker, &tcp->place);
}

static bool connect_one(struct tcp *tcp);

static void connect_failed(struct tcp *tcp, enum problem problem)
{
    give_up_backend(tcp);
    if (tcp->sides[ORIGIN].io.sock) {
        metric_add(stats_of(tcp)->active, -1);
        io_close(&tcp->sides[ORIGIN].io);
    }
    if (!connect_one(tcp))
        refuse(tcp, problem);
}

static void start_reading(struct tcp *tcp)
{
    tcp->connecting = false;
    for (int i = CLIENT; i <= ORIGIN; i++) {
        struct tcp_side *side = &tcp->sides[i];
        side->io.sock->data = side;
        if (!side->paused)
            h2o_socket_read_start(side->io.sock, on_read);
    }
    set_idle(tcp);
}

static void on_connect(h2o_socket_t *sock, const char *err)
{
    struct tcp_side *side = sock->data;
    struct tcp *tcp = side->tcp;
    char header[PROXY_PROTOCOL_WRITE_MAX];
    worker_tick(tcp->worker);
    if (err) {
        connect_failed(tcp, PROBLEM_UPSTREAM_UNREACHABLE);
        return;
    }
    tcp->connect_ns = tcp->worker->now_ns - tcp->connect_start_ns;
    metric_add(stats_of(tcp)->connected, 1);
    metric_observe(stats_of(tcp)->connect_seconds, (double)tcp->connect_ns / 1e9);
    balance_report(tcp->worker, &tcp->place, FITNESS_OK);
    peer_local(&tcp->peer, tcp->sides[CLIENT].io.fd);
    size_t len = upstream_proxy_header(tcp->pool, &tcp->peer, header);
    struct io_queue early = side->out;
    side->out = (struct io_queue){.len = 0};
    bool broken = (len && write_out(side, header, len)) ||
                  (early.len && write_out(side, early.data + early.at, early.len));
    io_queue_free(&early);
    if (broken) {
        abort_both(tcp);
        return;
    }
    want_write(side);
    start_reading(tcp);
}

static void attach(struct tcp *tcp, int fd)
{
    struct tcp_side *side = &tcp->sides[ORIGIN];
    side->io.fd = fd;
    side->io.sock = h2o_evloop_socket_create(
        tcp->worker->loop, fd, H2O_SOCKET_FLAG_DONT_READ | H2O_SOCKET_FLAG_IS_CONNECTING);
    side->io.sock->data = side;
    metric_add(stats_of(tcp)->active, 1);
    tcp->connect_start_ns = tcp->worker->now_ns;
    h2o_socket_notify_write(side->io.sock, on_connect);
    set_timer(tcp, tcp->pool->timeouts.connect);
}

/* A place at a backend. False: there is none; the reason is in tcp->problem. */
static bool take_place(struct tcp *tcp)
{
    const struct balance_ask ask = {
        .client = &tcp->peer.address, .tried = tcp->tried, .tried_count = tcp->attempts};
    switch (balance_take(tcp->worker, tcp->pool, &ask, &tcp->place)) {
    case BALANCE_PLACED:
        tcp->tried[tcp->attempts++] = tcp->place.backend;
        return true;
    case BALANCE_FULL:
        tcp->problem = PROBLEM_OVERLOADED;
        break;
    case BALANCE_NONE:
        tcp->problem = PROBLEM_NO_BACKEND;
        break;
    }
    return false;
}

/* False: there is none to try; the reason is in tcp->problem. */
static bool connect_one(struct tcp *tcp)
{
    tcp->problem = PROBLEM_UPSTREAM_UNREACHABLE;
    while (tcp->attempts < ATTEMPTS_MAX && take_place(tcp)) {
        int fd = upstream_socket(tcp->worker, tcp->place.backend);
        if (fd >= 0) {
            tcp->problem = PROBLEM_NONE;
            attach(tcp, fd);
            return true;
        }
        if (upstream_is_shortage(errno)) {
            tcp->problem = PROBLEM_OVERLOADED;
            return false; /* the place goes back undecided */
        }
        give_up_backend(tcp); /* a Unix socket refuses at once */
    }
    return false;
}

static void on_timeout(struct timer *timer)
{
    struct tcp *tcp = H2O_STRUCT_FROM_MEMBER(struct tcp, timer, timer);
    if (tcp->connecting)
        connect_failed(tcp, PROBLEM_UPSTREAM_TIMEOUT);
    else
        finish(tcp);
}

void tcp_new(struct worker *worker, struct io io, const struct peer *peer, const char *early,
             size_t early_len)
{
    struct worker_private *priv = worker->priv;
    const struct pool *pool = pool_set_find(priv->generation->pools, peer->listener->pool);
    if (!pool) { /* a reload has taken it away since the connection came */
        io_close(&io);
        ingress_closed(worker);
        return;
    }
    struct tcp *tcp = mem_zalloc(sizeof(*tcp));
    tcp->worker = worker;
    tcp->generation = priv->generation;
    generation_hold(tcp->generation, worker->index);
    tcp->pool = pool;
    tcp->peer = *peer;
    tcp->timer.fire = on_timeout;
    tcp->start_ns = worker->now_ns;
    tcp->connect_ns = -1;
    tcp->connecting = true;
    tcp->sides[CLIENT] = (struct tcp_side){.tcp = tcp, .io = io};
    tcp->sides[ORIGIN] = (struct tcp_side){.tcp = tcp, .io.fd = -1};
    tcp->link = &priv->tunnels;
    tcp->next = priv->tunnels;
    if (tcp->next)
        tcp->next->link = &tcp->next;
    priv->tunnels = tcp;
    metric_add(priv->stats.protocols[STATS_TCP], 1);
    io_attach(&tcp->sides[CLIENT].io, worker->loop, &tcp->sides[CLIENT]);
    h2o_socket_read_stop(tcp->sides[CLIENT].io.sock);
    tcp->sides[CLIENT].bytes = early_len;
    io_queue_add(&tcp->sides[ORIGIN].out, early, early_len);
    if (!connect_one(tcp))
        finish(tcp);
}

void tcp_close_all(struct worker *worker)
{
    while (worker->priv->tunnels)
        finish(worker->priv->tunnels);
}
