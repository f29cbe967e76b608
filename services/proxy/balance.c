/* The room that chooses a backend and holds a place at it: smooth weighted round robin, each worker
 * for itself, or the least loaded over all workers. */
#include "services/proxy/exchange.h"

#include <stdatomic.h>

static bool usable(const struct backend *backend, int64_t now_ms)
{
    if (!atomic_load_explicit(&backend->address, memory_order_acquire))
        return false;
    return atomic_load_explicit(&backend->skip_until_ms, memory_order_relaxed) <= now_ms;
}

static bool has_place(const struct member *member)
{
    return member->max_connections == 0 ||
           atomic_load_explicit(&member->backend->in_flight, memory_order_relaxed) <
               member->max_connections;
}

static struct member *round_robin(struct worker *worker, struct pool *pool, bool any)
{
    struct member *best = NULL;
    struct backend_slot *best_slot = NULL;
    int64_t total = 0;
    for (size_t i = 0; i < pool->count; i++) {
        struct member *member = &pool->members[i];
        struct backend_slot *slot = &worker->priv->backends[member->backend->id];
        if (!has_place(member) || (!any && !usable(member->backend, worker_now_ms(worker))))
            continue;
        slot->current_weight += member->weight;
        total += member->weight;
        if (!best || slot->current_weight > best_slot->current_weight) {
            best = member;
            best_slot = slot;
        }
    }
    if (best)
        best_slot->current_weight -= total;
    return best;
}

/* load a / weight a against load b / weight b */
static bool less_loaded(const struct member *a, int64_t a_load, const struct member *b,
                        int64_t b_load)
{
    return (a_load + 1) * b->weight < (b_load + 1) * a->weight;
}

static struct member *least_connections(struct worker *worker, struct pool *pool, bool any)
{
    struct member *best = NULL;
    int64_t best_load = 0;
    size_t start = pool->count > 1 ? worker_random(worker) % pool->count : 0;
    for (size_t i = 0; i < pool->count; i++) {
        struct member *member = &pool->members[(start + i) % pool->count];
        int64_t load = atomic_load_explicit(&member->backend->in_flight, memory_order_relaxed);
        if (!has_place(member) || (!any && !usable(member->backend, worker_now_ms(worker))))
            continue;
        if (!best || less_loaded(member, load, best, best_load)) {
            best = member;
            best_load = load;
        }
    }
    return best;
}

static struct member *choose(struct worker *worker, struct pool *pool, bool any)
{
    switch (pool->policy) {
    case BALANCE_ROUND_ROBIN:
        return round_robin(worker, pool, any);
    case BALANCE_LEAST_CONNECTIONS:
    case BALANCE_IP_HASH:
    case BALANCE_RANDOM_TWO:
        return least_connections(worker, pool, any);
    }
    return NULL;
}

static bool all_full(const struct pool *pool)
{
    for (size_t i = 0; i < pool->count; i++)
        if (has_place(&pool->members[i]))
            return false;
    return true;
}

static enum room_result enter(struct request *request)
{
    struct exchange *exchange = request->exchange;
    struct pool *pool = request->route->pool;
    struct member *member = choose(request->worker, pool, false);
    /* With all of them failing, trying is better than refusing unasked. */
    if (!member && exchange->attempts == 0)
        member = choose(request->worker, pool, true);
    if (!member || !atomic_load_explicit(&member->backend->address, memory_order_acquire)) {
        request_refuse(request, all_full(pool) ? PROBLEM_OVERLOADED : PROBLEM_NO_BACKEND, NULL);
        return ROOM_REJECT;
    }
    struct backend *backend = member->backend;
    if (atomic_fetch_add_explicit(&backend->in_flight, 1, memory_order_relaxed) >=
            member->max_connections &&
        member->max_connections) {
        atomic_fetch_sub_explicit(&backend->in_flight, 1, memory_order_relaxed);
        request_refuse(request, PROBLEM_OVERLOADED, NULL);
        return ROOM_REJECT;
    }
    exchange->backend = backend;
    exchange->placed = true;
    return ROOM_NEXT;
}

static void leave(struct request *request)
{
    struct exchange *exchange = request->exchange;
    if (exchange->placed)
        atomic_fetch_sub_explicit(&exchange->backend->in_flight, 1, memory_order_relaxed);
    exchange->placed = false;
}

const struct room room_balance = {.name = "balance", .enter = enter, .leave = leave};
