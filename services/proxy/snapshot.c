/* Owns the question and its answers: one block, shared by who asks and those who are asked, and
 * freed by the last of them, so that a worker may answer when nobody waits any more. */
#include "services/proxy/snapshot.h"

#include "libcommon/clock.h"
#include "libcommon/mem.h"
#include "services/proxy/exchange.h"

#include <string.h>
#include <time.h>

struct question {
    struct worker_message message; /* first */
    struct snapshot_ask *ask;
    size_t index;
};

struct snapshot_ask {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned refs;
    size_t answered, count;
    int64_t asked_ns;
    const struct snapshot *
        *seen; /* by worker; what is not there at the deadline is never looked at */
    struct snapshot answers[];
};

static void drop(struct snapshot_ask *ask)
{
    pthread_mutex_lock(&ask->lock);
    unsigned refs = --ask->refs;
    pthread_mutex_unlock(&ask->lock);
    if (refs > 0)
        return;
    for (size_t i = 0; i < ask->count; i++)
        free(ask->answers[i].backends);
    pthread_cond_destroy(&ask->changed);
    pthread_mutex_destroy(&ask->lock);
    free(ask->seen);
    free(ask);
}

static void copy(char *out, size_t size, const char *text, size_t len)
{
    len = len < size - 1 ? len : size - 1;
    memcpy(out, text, len);
    out[len] = '\0';
}

static void note_request(struct snapshot_request *out, const struct exchange *exchange)
{
    const struct request *request = &exchange->request;
    const struct route *route = request->route;
    const char *id = exchange->id_text ? exchange->id_text : "";
    h2o_iovec_t backend = exchange->backend ? exchange->backend->authority : h2o_iovec_init("", 0);
    copy(out->id, sizeof(out->id), id, strlen(id));
    copy(out->method, sizeof(out->method), exchange->method.base, exchange->method.len);
    copy(out->backend, sizeof(out->backend), backend.base, backend.len);
    out->room = exchange->depth ? room_list[exchange->depth - 1]->name : "ingress";
    out->route = route ? route->label : STATS_LABEL_NONE;
    out->age_ms = (request->worker->now_ns - exchange->start_ns) / 1000000;
    out->bytes_in = request->meter.bytes_in;
    out->bytes_out = request->meter.bytes_out;
    out->attempts = exchange->attempts;
}

/* The newest stand first in the list. */
static void note_requests(struct worker *worker, struct snapshot *out)
{
    const struct exchange *oldest[SNAPSHOT_OLDEST];
    for (const struct exchange *at = worker->priv->exchanges; at; at = at->live_next) {
        size_t room = at->depth ? at->depth - 1 : 0;
        out->rooms[room < SNAPSHOT_ROOMS ? room : SNAPSHOT_ROOMS - 1]++;
        oldest[out->in_flight++ % SNAPSHOT_OLDEST] = at;
    }
    out->oldest_count = out->in_flight < SNAPSHOT_OLDEST ? out->in_flight : (size_t)SNAPSHOT_OLDEST;
    for (size_t i = 0; i < out->oldest_count; i++)
        note_request(&out->oldest[i], oldest[(out->in_flight - 1 - i) % SNAPSHOT_OLDEST]);
}

static bool note_member(const struct worker *worker, const struct pool *pool,
                        const struct member *member, struct snapshot_backend *out)
{
    const struct worker_private *priv = worker->priv;
    const struct backend *backend = member->backend;
    *out = (struct snapshot_backend){
        .id = backend->id,
        .usable = atomic_load_explicit(&backend->address, memory_order_acquire) &&
                  fitness_usable(backend, pool, worker_now_ms(worker)),
        .idle = backend->id < priv->backend_count ? priv->backends[backend->id].idle_count : 0,
        .weight = member->weight,
        .max_connections = member->max_connections,
    };
    return out->usable;
}

static void note_pools(struct worker *worker, struct snapshot *out)
{
    const struct pool_set *set = worker->priv->generation->pools;
    out->backends = mem_array(set->backend_count + 1, sizeof(*out->backends));
    for (size_t i = 0; i < set->count; i++) {
        const struct pool *pool = &set->pools[i];
        bool usable = false;
        for (size_t j = 0; j < pool->count && out->backend_count < set->backend_count; j++)
            usable |=
                note_member(worker, pool, &pool->members[j], &out->backends[out->backend_count++]);
        if (!usable)
            out->empty_pool = pool->state->label;
    }
}

static void note_routes(const struct stats *stats, struct snapshot *out)
{
    for (size_t i = 0; i < STATS_LABELS; i++) {
        for (size_t method = 0; stats->routes[i] && method < STATS_METHODS; method++) {
            for (size_t class = 0; class < 6; class ++) {
                const struct metric_cell *cell = stats->routes[i]->requests[method][class];
                uint64_t count = cell ? (uint64_t)metric_value(cell) : 0;
                out->routes[i].requests += count;
                out->routes[i].errors += class == 5 ? count : 0;
            }
        }
    }
}

static void answer(struct worker *worker, struct worker_message *message)
{
    struct question *question = H2O_STRUCT_FROM_MEMBER(struct question, message, message);
    struct snapshot_ask *ask = question->ask;
    size_t index = question->index;
    struct snapshot *out = &ask->answers[index];
    const struct worker_private *priv = worker->priv;
    free(question);
    out->version = priv->generation->version;
    out->turns = priv->turn;
    int64_t lag_ns = worker->now_ns - ask->asked_ns;
    out->lag_us = lag_ns > 0 ? lag_ns / 1000 : 0;
    out->in_flight_limit = priv->generation->config->limits.in_flight;
    for (size_t i = 0; i < STATS_PROTOCOLS; i++)
        out->connections[i] = metric_value(priv->stats.protocols[i]);
    note_requests(worker, out);
    note_pools(worker, out);
    note_routes(&priv->stats, out);
    pthread_mutex_lock(&ask->lock);
    ask->seen[index] = out;
    ask->answered++;
    pthread_cond_signal(&ask->changed);
    pthread_mutex_unlock(&ask->lock);
    drop(ask);
}

static struct snapshot_ask *ask_all(struct proxy *proxy)
{
    size_t count = proxy->worker_count;
    struct snapshot_ask *ask = mem_zalloc(sizeof(*ask) + count * sizeof(ask->answers[0]));
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&ask->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&ask->lock, NULL);
    ask->count = count;
    ask->seen = mem_array(count + 1, sizeof(*ask->seen));
    ask->refs = (unsigned)count + 1;
    ask->asked_ns = clock_mono_ns(&clock_system);
    for (size_t i = 0; i < count; i++) {
        struct question *question = mem_zalloc(sizeof(*question));
        *question = (struct question){{.run = answer}, ask, i};
        worker_send(proxy->workers[i], &question->message);
    }
    return ask;
}

void snapshot_take(struct proxy *proxy, int64_t wait_ms, struct snapshot_set *out)
{
    struct snapshot_ask *ask = ask_all(proxy);
    int64_t until = ask->asked_ns + wait_ms * 1000000;
    struct timespec deadline = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
    int status = 0;
    pthread_mutex_lock(&ask->lock);
    while (ask->answered < ask->count && status == 0)
        status = pthread_cond_timedwait(&ask->changed, &ask->lock, &deadline);
    *out = (struct snapshot_set){.count = ask->count, .answered = ask->answered, .ask = ask};
    out->of = mem_array(ask->count + 1, sizeof(*out->of));
    memcpy(out->of, ask->seen, ask->count * sizeof(*out->of));
    pthread_mutex_unlock(&ask->lock);
}

void snapshot_drop(struct snapshot_set *set)
{
    free(set->of);
    if (set->ask)
        drop(set->ask);
    *set = (struct snapshot_set){.ask = NULL};
}
