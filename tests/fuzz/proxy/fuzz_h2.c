/* The event handling of HTTP/2: whatever frames come, in whatever pieces, every exchange that began
 * ends once, what is kept is bounded, and nothing is left when the connection goes. The exchanges'
 * side is a stand-in that answers as the path says; sockets and nghttp2 are real. The first byte
 * says how the input is cut. */
#include "services/proxy/h2_private.h"

#include "libcommon/mem.h"
#include "services/proxy/ingress.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of its own: stats.c leads to the rooms. */
static const struct metric_desc metrics_table[STATS_COUNT] = {

#define METRIC_ROW(id, n, k, h, ...)                                                               \
    [STATS_##id] = {.name = (n), .kind = METRIC_##k, .help = (h), .labels = {__VA_ARGS__}},
#include "services/proxy/stats.def"
#undef METRIC_ROW
};
static struct worker worker;
static struct worker_private priv;
static struct proxy proxy;
static struct proxy_config config;
static struct generation generation = {.config = &config};
static struct grave *graves;
static int live;

void worker_read_clock(struct worker *one)
{
    (void)one;
}

void worker_bury(struct worker *one, struct grave *grave,
                 void (*release)(struct worker *worker, struct grave *grave))
{
    (void)one;
    grave->release = release;
    grave->next = graves;
    graves = grave;
}

uint64_t worker_random(struct worker *one)
{
    (void)one;
    return 42;
}

h2o_iovec_t worker_date(struct worker *one)
{
    static char line[] = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    (void)one;
    return h2o_iovec_init(line, sizeof(line) - 1);
}

void ingress_closed(struct worker *one)
{
    (void)one;
}

struct exchange *exchange_new(struct worker *one, const struct downstream_ops *ops,
                              void *downstream)
{
    struct exchange *exchange = mem_zalloc(sizeof(*exchange));
    h2o_mem_init_pool(&exchange->request.pool);
    exchange->request.worker = one;
    exchange->request.exchange = exchange;
    exchange->ops = ops;
    exchange->downstream = downstream;
    live++;
    return exchange;
}

void exchange_set_head(struct exchange *exchange, const struct http1_head *head)
{
    /* What was read as one request is one, to its last byte. */
    assert(memmem(head->base, head->len, "\r\n\r\n", 4) == head->base + head->len - 4);
    exchange->head = *head;
    exchange->body = head->body;
    exchange->body_length = head->content_length;
    exchange->path = http1_slice(head, head->target);
}

static void release(struct worker *one, struct grave *grave)
{
    struct exchange *exchange = H2O_STRUCT_FROM_MEMBER(struct exchange, grave, grave);
    (void)one;
    h2o_mem_clear_pool(&exchange->request.pool);
    free(exchange);
    live--;
}

static void finish(struct exchange *exchange)
{
    if (exchange->finished)
        return;
    exchange->finished = true;
    exchange->ops->done(exchange);
    worker_bury(exchange->request.worker, &exchange->grave, release);
}

void exchange_gone(struct exchange *exchange)
{
    assert(!exchange->finished);
    finish(exchange);
}

void exchange_discard(struct exchange *exchange)
{
    worker_bury(exchange->request.worker, &exchange->grave, release);
}

void request_refuse(struct request *request, enum problem problem, const char *detail, ...)
{
    (void)detail;
    request->problem = problem;
}

static void answer(struct exchange *exchange, size_t len, bool end)
{
    static char bytes[70000];
    static char lines[] = "Content-Type: text/plain\r\nX-A: b\r\n", trailers[] = "X-Sum: 1\r\n";
    struct response response = {.status = 200,
                                .lines = h2o_iovec_init(lines, sizeof(lines) - 1),
                                .body = BODY_LENGTH,
                                .length = len};
    struct piece piece = {.data = bytes, .len = len, .end = end};
    if (end && len % 2)
        piece.trailers = h2o_iovec_init(trailers, sizeof(trailers) - 1);
    if (exchange->responded)
        exchange->ops->body(exchange, &piece);
    else
        exchange->ops->respond(exchange, &response, &piece);
    exchange->responded = true;
}

/* By the first letter of the path. */
static void act(struct exchange *exchange)
{
    switch (exchange->path.len > 1 ? exchange->path.base[1] : 0) {
    case 'w': /* nobody answers */
        break;
    case 'b': /* more than windows hold */
        answer(exchange, 69999, false);
        if (!exchange->ops->full(exchange)) {
            answer(exchange, 1, true);
            finish(exchange);
        }
        break;
    case 'c':
        answer(exchange, 10, false);
        exchange->ops->cut(exchange);
        finish(exchange);
        break;
    case 'i':
        exchange->ops->interim(exchange,
                               &(struct response){.status = 103, .head = &exchange->head});
        answer(exchange, 0, true);
        finish(exchange);
        break;
    case 's': /* when the body is here: upstream_body_ready */
        break;
    default:
        answer(exchange, exchange->path.len, true);
        finish(exchange);
        break;
    }
}

void exchange_start(struct exchange *exchange)
{
    act(exchange);
    if (!exchange->finished)
        upstream_body_ready(exchange);
}

void request_resume(struct request *request, enum room_result result)
{
    (void)result;
    answer(request->exchange, 3, true);
    finish(request->exchange);
}

void upstream_body_ready(struct exchange *exchange)
{
    struct piece piece = {.len = 0};
    if (exchange->body == BODY_NONE || exchange->body_ended)
        return;
    int result = exchange->ops->pull(exchange, &piece);
    exchange->body_ended = result > 0 && piece.end;
    assert(piece.len <= H2_WINDOW);
    if (exchange->body_ended && exchange->path.len > 1 && exchange->path.base[1] == 's') {
        answer(exchange, 2, true);
        finish(exchange);
    }
}

void upstream_drained(struct exchange *exchange)
{
    answer(exchange, 1, true);
    finish(exchange);
}

static void set_up(void)
{
    if (worker.loop)
        return;
    worker.loop = h2o_evloop_create();
    worker.priv = &priv;
    priv.worker = &worker;
    priv.proxy = &proxy;
    priv.generation = &generation;
    priv.limits = (struct http1_limits){.head_bytes = 2048, .fields = 32, .target_bytes = 512};
    priv.buffer = mem_alloc(WORKER_BUFFER);
    priv.fields = mem_array(priv.limits.fields, sizeof(*priv.fields));
    priv.stats.metrics = metrics_new(metrics_table, STATS_COUNT);
    priv.stats.protocols[STATS_HTTP2] =
        metrics_local(priv.stats.metrics, STATS_PROTOCOL_CONNECTIONS, (const char *[]){"http2"});
    config.timeouts = (struct timeouts_config){.request_head = 1000,
                                               .request_body_idle = 1000,
                                               .response_write_idle = 1000,
                                               .keepalive_idle = 1000};
    timer_wheel_init(&priv.timers, 0);
}

static void end_turn(void)
{
    worker.now_ns += 7000000;
    timer_run(&priv.timers, worker.now_ns / 1000000);
    h2_turn_end(&worker);
    for (struct h2 *h2 = priv.h2->connections; h2; h2 = h2->next) {
        assert(h2->stream_count <= 2 * H2_STREAMS && h2->held <= H2_STREAMS * H2_WINDOW);
        assert(h2->out_len == 0);
    }
    while (graves) {
        struct grave *grave = graves;
        graves = grave->next;
        grave->release(&worker, grave);
    }
}

static void drain(int fd)
{
    static char sink[65536];
    while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2];
    struct peer peer = {.text_len = 0};
    if (size < 2)
        return 0;
    set_up();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds))
        return 0;
    size_t step = 1 + (size_t)data[0] * 16;
    atomic_store(&proxy.draining, data[0] % 8 == 1); /* it came late */
    h2_new(&worker, (struct io){.fd = fds[0]}, &peer, H2_PREFACE, H2_PREFACE_LEN);
    for (size_t at = 1; at < size; at += step) {
        ssize_t sent = send(fds[1], data + at, size - at < step ? size - at : step, MSG_NOSIGNAL);
        h2o_evloop_run(worker.loop, 0);
        end_turn();
        /* Odd ones never read what they get. */
        if (data[0] % 2 == 0)
            drain(fds[1]);
        if (sent <= 0)
            break;
    }
    if (data[0] % 4 == 0)
        h2_drain_all(&worker);
    end_turn();
    h2_close_all(&worker);
    end_turn();
    h2o_evloop_run(worker.loop, 0);
    close(fds[1]);
    assert(live == 0);
    return 0;
}
