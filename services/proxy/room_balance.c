/* The room that gets a place at a backend: waits before a retry, chooses, and where everything is
 * full waits in the pool's queue, which spans all workers. It is left and entered again for each
 * attempt; leaving cancels whatever is waited for. */
#include "services/proxy/exchange.h"
#include "services/proxy/route.h"

#include "libcommon/mem.h"

/* How often a request that waits looks whether it should: places also appear without one being
 * given back, when a backend recovers. */
#define LOOK_MS 100

/* One request in the queue. The message that wakes it owns it from then on, so it outlives a
 * request that ends meanwhile. */
struct waiting {
    struct waiter waiter; /* first */
    struct worker *worker;
    struct exchange *exchange; /* NULL: it is over */
    struct timer timer;
    int64_t since_ms, due_ms;
};

static const struct pool *pool_of(const struct exchange *exchange)
{
    return exchange->request.route->pool;
}

static struct wait_queue *queue_of(const struct exchange *exchange)
{
    return &pool_of(exchange)->state->queue;
}

static struct stats_pool *stats_of(const struct exchange *exchange)
{
    struct worker_private *priv = exchange->request.worker->priv;
    return stats_pool(&priv->stats, pool_of(exchange)->state);
}

static enum balance_result take(struct exchange *exchange)
{
    const struct balance_ask ask = {.client = &exchange->client,
                                    .tried = exchange->retry.tried,
                                    .tried_count = exchange->retry.tried_count};
    enum balance_result result =
        balance_take(exchange->request.worker, pool_of(exchange), &ask, &exchange->place);
    if (result == BALANCE_PLACED)
        exchange->backend = exchange->place.backend;
    return result;
}

static enum room_result none_there(struct exchange *exchange)
{
    struct request *request = &exchange->request;
    request->retry_after_s = balance_retry_after_s(request->worker, pool_of(exchange));
    request_refuse(request, PROBLEM_NO_BACKEND, NULL);
    return ROOM_REJECT;
}

static enum room_result overloaded(struct exchange *exchange, const char *detail)
{
    request_refuse(&exchange->request, PROBLEM_OVERLOADED, "%s", detail);
    return ROOM_REJECT;
}

static void stop_timer(struct worker *worker, struct timer *timer)
{
    timer_unlink(&worker->priv->timers, timer);
}

/* It waits no more; off the list already. */
static void forget(struct waiting *waiting)
{
    stop_timer(waiting->worker, &waiting->timer);
    free(waiting);
}

static void count_wait(struct exchange *exchange, enum stats_wait result, int64_t since_ms)
{
    struct stats_pool *stats = stats_of(exchange);
    int64_t took_ms = worker_now_ms(exchange->request.worker) - since_ms;
    metric_add(stats->waits[result], 1);
    metric_observe(stats->wait_seconds, (double)took_ms / 1e3);
}

static void on_place(struct exchange *exchange, struct waiting *waiting, enum balance_result result)
{
    struct worker *worker = waiting->worker;
    const struct pool *pool = pool_of(exchange);
    enum room_result next = ROOM_NEXT;
    exchange->waiting = NULL;
    count_wait(exchange, result == BALANCE_PLACED ? STATS_WAIT_PLACED : STATS_WAIT_TIMEOUT,
               waiting->since_ms);
    wait_queue_done(queue_of(exchange), &waiting->waiter);
    forget(waiting);
    balance_pass_on(worker, pool);
    if (result == BALANCE_NONE)
        next = none_there(exchange);
    else if (result == BALANCE_FULL)
        next = overloaded(exchange, "no place became free in time");
    request_resume(&exchange->request, next);
}

static void on_message(struct worker *worker, struct worker_message *message)
{
    struct waiting *waiting = (struct waiting *)message;
    struct exchange *exchange = waiting->exchange;
    if (!exchange) {
        free(waiting);
        return;
    }
    struct wait_queue *queue = queue_of(exchange);
    enum balance_result result = take(exchange);
    if (result != BALANCE_FULL || worker_now_ms(worker) >= waiting->due_ms) {
        on_place(exchange, waiting, result);
        return;
    }
    wait_queue_back(queue, &waiting->waiter);
    balance_pass_on(worker, pool_of(exchange));
}

static void wake(struct waiter *waiter)
{
    worker_send(((struct waiting *)waiter)->worker, &waiter->message);
}

static void on_look(struct timer *timer)
{
    struct waiting *waiting = H2O_STRUCT_FROM_MEMBER(struct waiting, timer, timer);
    struct worker *worker = waiting->worker;
    struct exchange *exchange = waiting->exchange;
    int64_t now_ms = worker_now_ms(worker);
    if (now_ms < waiting->due_ms) {
        int64_t next_ms = now_ms + LOOK_MS;
        timer_set(&worker->priv->timers, timer,
                  next_ms < waiting->due_ms ? next_ms : waiting->due_ms);
        balance_pass_on(worker, pool_of(exchange));
        return;
    }
    /* Woken just now: the message decides. */
    if (!wait_queue_leave(queue_of(exchange), &waiting->waiter))
        return;
    exchange->waiting = NULL;
    count_wait(exchange, STATS_WAIT_TIMEOUT, waiting->since_ms);
    forget(waiting);
    request_resume(&exchange->request, overloaded(exchange, "no place became free in time"));
}

static enum room_result wait_for_place(struct exchange *exchange)
{
    struct worker *worker = exchange->request.worker;
    const struct pool *pool = pool_of(exchange);
    const struct queue_config *rules = &pool->config->queue;
    struct waiting *waiting = mem_zalloc(sizeof(*waiting));
    waiting->waiter.message.run = on_message;
    waiting->waiter.wake = wake;
    waiting->worker = worker;
    waiting->exchange = exchange;
    waiting->timer.fire = on_look;
    waiting->since_ms = worker_now_ms(worker);
    waiting->due_ms = waiting->since_ms + rules->timeout;
    if (!wait_queue_join(&pool->state->queue, &waiting->waiter, (unsigned)rules->size)) {
        free(waiting);
        metric_add(stats_of(exchange)->waits[STATS_WAIT_FULL], 1);
        return overloaded(exchange, "the queue of the pool is full");
    }
    exchange->waiting = waiting;
    timer_set(&worker->priv->timers, &waiting->timer,
              waiting->since_ms + (rules->timeout < LOOK_MS ? rules->timeout : LOOK_MS));
    balance_pass_on(worker, pool);
    return ROOM_WAIT;
}

/* Who comes now goes behind those that wait. */
static enum room_result seek(struct exchange *exchange)
{
    const struct pool *pool = pool_of(exchange);
    bool queued = pool->config->queue.size > 0;
    if (!queued || wait_queue_length(&pool->state->queue) == 0) {
        switch (take(exchange)) {
        case BALANCE_PLACED:
            return ROOM_NEXT;
        case BALANCE_NONE:
            return none_there(exchange);
        case BALANCE_FULL:
            break;
        }
    }
    return queued ? wait_for_place(exchange) : overloaded(exchange, "the pool is full");
}

static void on_delay(struct timer *timer)
{
    struct exchange *exchange = H2O_STRUCT_FROM_MEMBER(struct exchange, timer, timer);
    enum room_result result = seek(exchange);
    if (result != ROOM_WAIT)
        request_resume(&exchange->request, result);
}

static void on_deadline(struct timer *timer)
{
    struct exchange *exchange = H2O_STRUCT_FROM_MEMBER(struct exchange, deadline, timer);
    if (exchange->patient)
        return;
    request_refuse(&exchange->request, PROBLEM_UPSTREAM_TIMEOUT, "the request took too long");
    request_resume(&exchange->request, ROOM_REJECT);
}

static void begin(struct exchange *exchange)
{
    struct worker *worker = exchange->request.worker;
    int64_t request_ms = exchange->request.route->request_ms;
    retry_begin(exchange);
    if (request_ms == 0)
        return;
    exchange->deadline.fire = on_deadline;
    timer_set(&worker->priv->timers, &exchange->deadline,
              exchange->start_ns / 1000000 + request_ms);
}

static enum room_result enter(struct request *request)
{
    struct exchange *exchange = request->exchange;
    struct worker *worker = request->worker;
    int64_t delay_ms = exchange->retry.delay_ms;
    if (exchange->attempts == 0)
        begin(exchange);
    exchange->retry.delay_ms = 0;
    if (delay_ms == 0)
        return seek(exchange);
    exchange->timer.fire = on_delay;
    timer_set(&worker->priv->timers, &exchange->timer, worker_now_ms(worker) + delay_ms);
    return ROOM_WAIT;
}

static void stop_waiting(struct exchange *exchange)
{
    struct waiting *waiting = exchange->waiting;
    exchange->waiting = NULL;
    count_wait(exchange, STATS_WAIT_LEFT, waiting->since_ms);
    stop_timer(waiting->worker, &waiting->timer);
    waiting->exchange = NULL;
    if (wait_queue_leave(queue_of(exchange), &waiting->waiter)) {
        forget(waiting);
        return;
    }
    /* Woken just now: what for, is passed on; the message frees it when it comes. */
    wait_queue_done(queue_of(exchange), &waiting->waiter);
    wait_queue_wake(queue_of(exchange));
}

static void leave(struct request *request)
{
    struct exchange *exchange = request->exchange;
    if (exchange->waiting)
        stop_waiting(exchange);
    stop_timer(request->worker, &exchange->timer);
    balance_give_back(request->worker, &exchange->place);
}

const struct room room_balance = {.name = "balance", .enter = enter, .leave = leave};
