/* A loop thread: turns the loop, runs its timers, buries what the turn has ended, and takes
 * messages from other threads. */
#include "services/proxy/worker.h"

#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "services/proxy/adopt.h"
#include "services/proxy/client.h"
#include "services/proxy/h2.h"
#include "services/proxy/ingress.h"
#include "services/proxy/listener.h"
#include "services/proxy/memory_guard.h"
#include "services/proxy/splice.h"
#include "services/proxy/stream.h"
#include "services/proxy/tcp.h"
#include "services/proxy/tls_conn.h"
#include "services/proxy/upstream.h"
#include "services/proxy/worker_private.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

#define MEASURED_TURNS 16
#define WAIT_MAX_MS    1000

void worker_read_clock(struct worker *worker)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    worker->now_ns = now.tv_sec * 1000000000LL + now.tv_nsec;
    worker->wall_ms = (int64_t)h2o_now(worker->loop);
    worker->priv->clock_turn = worker->priv->turn;
    atomic_store_explicit(&worker->priv->turn_ns, worker->now_ns, memory_order_relaxed);
}

h2o_iovec_t worker_date(struct worker *worker)
{
    struct worker_private *priv = worker->priv;
    int64_t now_s = worker->wall_ms / 1000;
    if (now_s != priv->date_s) {
        time_t seconds = (time_t)now_s;
        struct tm tm;
        gmtime_r(&seconds, &tm);
        priv->date_len =
            strftime(priv->date, sizeof(priv->date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        priv->date_s = now_s;
    }
    return h2o_iovec_init(priv->date, priv->date_len);
}

uint64_t worker_random(struct worker *worker)
{
    /* xorshift128+: for ids and choices, not for secrets. */
    uint64_t *state = worker->priv->random;
    uint64_t a = state[0], b = state[1];
    state[0] = b;
    a ^= a << 23;
    state[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
    return state[1] + b;
}

void worker_bury(struct worker *worker, struct grave *grave,
                 void (*release)(struct worker *worker, struct grave *grave))
{
    grave->release = release;
    grave->next = worker->priv->graves;
    worker->priv->graves = grave;
}

static void close_graves(struct worker *worker)
{
    struct grave *grave;
    while ((grave = worker->priv->graves)) {
        worker->priv->graves = grave->next;
        grave->release(worker, grave);
    }
}

static void on_messages(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    struct worker_private *priv = H2O_STRUCT_FROM_MEMBER(struct worker_private, receiver, receiver);
    struct worker *worker = priv->worker;
    worker_tick(worker);
    while (!h2o_linklist_is_empty(messages)) {
        h2o_multithread_message_t *super =
            H2O_STRUCT_FROM_MEMBER(h2o_multithread_message_t, link, messages->next);
        struct worker_message *message =
            H2O_STRUCT_FROM_MEMBER(struct worker_message, super, super);
        h2o_linklist_unlink(&super->link);
        message->run(worker, message);
    }
}

void worker_send(struct worker *worker, struct worker_message *message)
{
    message->super.link = (h2o_linklist_t){NULL, NULL};
    h2o_multithread_send_message(&worker->priv->receiver, &message->super);
}

static void close_listeners(struct worker *worker)
{
    while (worker->priv->listeners)
        listener_close(worker->priv->listeners);
}

/* From the reading of the clock at the wake-up on. */
static void measure_turn(struct worker *worker)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t now_ns = now.tv_sec * 1000000000LL + now.tv_nsec;
    metric_observe(worker->priv->stats.turn_seconds, (double)(now_ns - worker->now_ns) / 1e9);
}

static void turn(struct worker *worker)
{
    struct worker_private *priv = worker->priv;
    priv->turn++;
    atomic_store_explicit(&priv->turn_ns, 0, memory_order_relaxed);
    int32_t wait = timer_wait_ms(&priv->timers, worker_now_ms(worker), WAIT_MAX_MS);
    /* Interrupted (the process was stopped, say): what came in is looked at before the timers. */
    if (h2o_evloop_run(worker->loop, wait))
        h2o_evloop_run(worker->loop, 0);
    worker_tick(worker);
    memory_guard_look(priv->proxy->memory, worker->now_ns);
    timer_run(&priv->timers, worker_now_ms(worker));
    h2_turn_end(worker);
    close_graves(worker);
    if (priv->turn % MEASURED_TURNS == 0)
        measure_turn(worker);
}

/* libh2o keeps up to 16 chunks of memory pools for each thread and never gives them back; where a
 * thread ends they would be lost. A chunk begins with the pointer to the next. */
static void free_recycled_chunks(void)
{
    enum { CHUNKS = 16, CHUNK_BYTES = 4096, PIECE = 1000 };

    h2o_mem_pool_t pool;
    h2o_mem_init_pool(&pool);
    for (size_t i = 0; i < CHUNKS * (CHUNK_BYTES / PIECE); i++)
        h2o_mem_alloc_pool(&pool, PIECE);
    void **chunk = (void *)pool.chunks;
    while (chunk) {
        void **next = *chunk;
        free(chunk);
        chunk = next;
    }
    h2o_mem_recycle_t *buffers = &h2o_socket_buffer_prototype.allocator;
    while (buffers->cnt > 0)
        free(h2o_mem_alloc_recycle(buffers, 1));
}

static void enter_phase(struct worker_private *priv, enum worker_phase phase)
{
    pthread_mutex_lock(&priv->lock);
    if (priv->phase < phase)
        priv->phase = phase;
    pthread_cond_broadcast(&priv->changed);
    pthread_mutex_unlock(&priv->lock);
}

static enum worker_phase await_phase(struct worker_private *priv, enum worker_phase least)
{
    pthread_mutex_lock(&priv->lock);
    while (priv->phase < least)
        pthread_cond_wait(&priv->changed, &priv->lock);
    enum worker_phase phase = priv->phase;
    pthread_mutex_unlock(&priv->lock);
    return phase;
}

/* Loop and queue are made and ended on the thread that runs them: libh2o's buffers belong to the
 * thread that opened the socket. */
static void open_loop(struct worker *worker)
{
    struct worker_private *priv = worker->priv;
    worker->loop = h2o_evloop_create();
    worker_read_clock(worker);
    timer_wheel_init(&priv->timers, worker_now_ms(worker));
    priv->queue = h2o_multithread_create_queue(worker->loop);
    h2o_multithread_register_receiver(priv->queue, &priv->receiver, on_messages);
}

/* Messages that came after the end: nobody is there for them. */
static void drop_messages(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    (void)receiver;
    while (!h2o_linklist_is_empty(messages)) {
        h2o_multithread_message_t *super =
            H2O_STRUCT_FROM_MEMBER(h2o_multithread_message_t, link, messages->next);
        h2o_linklist_unlink(&super->link);
        free(super);
    }
}

static void close_loop(struct worker *worker)
{
    struct worker_private *priv = worker->priv;
    priv->receiver.cb = drop_messages;
    h2o_evloop_run(worker->loop, 0);
    h2o_multithread_unregister_receiver(priv->queue, &priv->receiver);
    h2o_multithread_destroy_queue(priv->queue);
    free(priv->queue);
    h2o_evloop_run(worker->loop, 0); /* frees closed sockets */
    h2o_evloop_destroy(worker->loop);
    free_recycled_chunks();
}

static void serve(struct worker *worker)
{
    struct worker_private *priv = worker->priv;
    while (!priv->stopping)
        turn(worker);
    close_listeners(worker);
    ingress_close_all(worker);
    client_close_all(worker);
    h2_close_all(worker);
    tcp_close_all(worker);
    upstream_close_all(worker);
    close_graves(worker);
    h2o_evloop_run(worker->loop, 0);
    /* It does not turn any more, and is not stuck: the end of others may take longer. */
    atomic_store_explicit(&priv->turn_ns, 0, memory_order_relaxed);
}

static void *thread_main(void *arg)
{
    struct worker *worker = arg;
    struct worker_private *priv = worker->priv;
    char name[16];
    snprintf(name, sizeof(name), "loop-%u", worker->index);
    pthread_setname_np(pthread_self(), name);
    open_loop(worker);
    enter_phase(priv, WORKER_READY);
    if (await_phase(priv, WORKER_RUNNING) == WORKER_RUNNING)
        serve(worker);
    enter_phase(priv, WORKER_ENDED);
    await_phase(priv, WORKER_RELEASED);
    close_loop(worker);
    splice_thread_end();
    return NULL;
}

int worker_new(struct proxy *proxy, unsigned index, struct worker **out, struct err *err)
{
    struct worker *worker = mem_zalloc(sizeof(*worker));
    struct worker_private *priv = mem_zalloc(sizeof(*priv));
    worker->index = index;
    worker->priv = priv;
    worker->metrics = service_metrics(proxy->service);
    priv->worker = worker;
    priv->proxy = proxy;
    priv->buffer = mem_alloc(WORKER_BUFFER);
    adopt_first(worker, proxy->generation);
    priv->turn = 1;
    pthread_mutex_init(&priv->lock, NULL);
    pthread_cond_init(&priv->changed, NULL);
    stats_init(&priv->stats, worker->metrics);
    if (getrandom(priv->random, sizeof(priv->random), 0) != sizeof(priv->random) ||
        (priv->random[0] | priv->random[1]) == 0)
        priv->random[0] = index + 1;
    *out = worker;
    int status = pthread_create(&priv->thread, NULL, thread_main, worker);
    if (status != 0)
        return err_set(err, "worker %u: %s", index, strerror(status));
    await_phase(priv, WORKER_READY);
    return 0;
}

void worker_start(struct worker *worker)
{
    enter_phase(worker->priv, WORKER_RUNNING);
}

static void on_drain(struct worker *worker, struct worker_message *message)
{
    free(message);
    while (worker->priv->listeners)
        listener_retire(worker->priv->listeners);
    ingress_drain_all(worker);
    client_drain_all(worker);
    stream_drain_all(worker);
    h2_drain_all(worker);
}

static void on_accept(struct worker *worker, struct worker_message *message)
{
    free(message);
    for (struct listener *at = worker->priv->listeners; at; at = at->next)
        listener_start(at);
}

static void on_stop(struct worker *worker, struct worker_message *message)
{
    free(message);
    worker->priv->stopping = true;
}

static void order(struct worker *worker,
                  void (*run)(struct worker *worker, struct worker_message *message))
{
    struct worker_message *message = mem_zalloc(sizeof(*message));
    message->run = run;
    worker_send(worker, message);
}

void worker_accept(struct worker *worker)
{
    order(worker, on_accept);
}

void worker_drain(struct worker *worker)
{
    order(worker, on_drain);
}

void worker_stop(struct worker *worker)
{
    struct worker_private *priv = worker->priv;
    if (priv->phase == WORKER_READY) {
        close_listeners(worker);
        enter_phase(priv, WORKER_ENDED);
    } else if (priv->phase == WORKER_RUNNING) {
        order(worker, on_stop);
        await_phase(priv, WORKER_ENDED);
    }
}

void worker_free(struct worker **worker)
{
    struct worker_private *priv = (*worker)->priv;
    if (priv->phase != WORKER_NEW) {
        enter_phase(priv, WORKER_RELEASED);
        pthread_join(priv->thread, NULL);
    }
    while (priv->spare) {
        struct exchange *next = priv->spare->next_spare;
        free(priv->spare);
        priv->spare = next;
    }
    h2_worker_free(&priv->h2);
    stats_clear(&priv->stats);
    tls_thread_free(&priv->tls);
    free(priv->buffer);
    free(priv->scratch);
    free(priv->fields);
    free(priv->backends);
    free(priv);
    free(*worker);
    *worker = NULL;
}
