/* Each policy asks the same question of a member, `candidate`, and the stages loosen it: fit and
 * not tried yet; fit; and, where nothing is fit, whatever may still answer. */
#include "services/proxy/balance.h"

#include "services/proxy/worker_private.h"

#include <math.h>
#include <string.h>

#define RACES_MAX  4 /* places lost to another thread before the pool counts as full */
#define PROBES_MAX 8

enum stage { STAGE_FRESH, STAGE_OTHER, STAGE_FIT, STAGE_PANIC, STAGES };

struct choice {
    struct worker *worker;
    const struct pool *pool;
    const struct balance_ask *ask;
    int64_t now_ms;
    enum stage stage;
};

static struct metrics *metrics_of(const struct worker *worker)
{
    return worker->metrics;
}

static bool was_tried(const struct balance_ask *ask, const struct backend *backend)
{
    for (unsigned i = 0; i < ask->tried_count; i++)
        if (ask->tried[i] == backend)
            return true;
    return false;
}

static bool has_place(const struct member *member)
{
    return member->max_connections == 0 ||
           atomic_load(&member->backend->in_flight) < member->max_connections;
}

/* Whether it may be asked at all, full or not. */
static bool fit(const struct choice *choice, const struct backend *backend)
{
    const struct pool *pool = choice->pool;
    const struct breaker_config *rules = &pool->config->circuit_breaker;
    if (!atomic_load_explicit(&backend->address, memory_order_acquire))
        return false;
    switch (choice->stage) {
    case STAGE_FRESH:
        return !was_tried(choice->ask, backend) && fitness_usable(backend, pool, choice->now_ms);
    case STAGE_OTHER:
        return !was_tried(choice->ask, backend) &&
               breaker_admits(&backend->fitness.breaker, rules, choice->now_ms);
    case STAGE_FIT:
        return fitness_usable(backend, pool, choice->now_ms);
    case STAGE_PANIC:
        return breaker_admits(&backend->fitness.breaker, rules, choice->now_ms);
    case STAGES:
        break;
    }
    return false;
}

static bool candidate(const struct choice *choice, const struct member *member)
{
    return has_place(member) && fit(choice, member->backend);
}

static int64_t weight_of(const struct choice *choice, const struct member *member)
{
    return fitness_weight(member->backend, choice->pool, member->weight, choice->now_ms);
}

static const struct member *round_robin(const struct choice *choice)
{
    const struct member *best = NULL;
    struct backend_slot *slots = choice->worker->priv->backends;
    int64_t total = 0;
    for (size_t i = 0; i < choice->pool->count; i++) {
        const struct member *member = &choice->pool->members[i];
        if (!candidate(choice, member))
            continue;
        int64_t weight = weight_of(choice, member);
        int64_t *current = &slots[member->backend->id].current_weight;
        *current += weight;
        total += weight;
        if (!best || *current > slots[best->backend->id].current_weight)
            best = member;
    }
    if (best)
        slots[best->backend->id].current_weight -= total;
    return best;
}

/* Its load with this request, for its weight, is the smaller one. */
static bool less_loaded(const struct choice *choice, const struct member *a, const struct member *b)
{
    int64_t a_load = atomic_load_explicit(&a->backend->in_flight, memory_order_relaxed);
    int64_t b_load = atomic_load_explicit(&b->backend->in_flight, memory_order_relaxed);
    return (a_load + 1) * weight_of(choice, b) < (b_load + 1) * weight_of(choice, a);
}

static const struct member *least_connections(const struct choice *choice)
{
    const struct pool *pool = choice->pool;
    const struct member *best = NULL;
    size_t start = pool->count > 1 ? worker_random(choice->worker) % pool->count : 0;
    for (size_t i = 0; i < pool->count; i++) {
        const struct member *member = &pool->members[(start + i) % pool->count];
        if (candidate(choice, member) && (!best || less_loaded(choice, member, best)))
            best = member;
    }
    return best;
}

static uint64_t mix(uint64_t value)
{
    value ^= value >> 33;
    value *= 0xff51afd7ed558ccdULL;
    value ^= value >> 33;
    value *= 0xc4ceb9fe1a85ec53ULL;
    return value ^ value >> 33;
}

/* An IPv6 client is its /64. */
static uint64_t client_hash(const struct address *client)
{
    uint64_t high, low;
    memcpy(&high, client->bytes, 8);
    memcpy(&low, client->bytes + 8, 8);
    return mix(address_is_v4(client) ? mix(high) ^ low : high);
}

/* Rendezvous: each member draws from (client, member), the weight stretches the draw, the best
 * wins. Who leaves or grows slowly moves only the clients that it loses or gets. */
static const struct member *ip_hash(const struct choice *choice)
{
    static const struct address nobody;
    const struct member *best = NULL;
    uint64_t client = client_hash(choice->ask->client ? choice->ask->client : &nobody);
    double best_score = 0;
    for (size_t i = 0; i < choice->pool->count; i++) {
        const struct member *member = &choice->pool->members[i];
        if (!candidate(choice, member))
            continue;
        double draw = ((double)(mix(client ^ member->backend->hash) >> 11) + 0.5) * 0x1p-53;
        double score = (double)weight_of(choice, member) / -log(draw);
        if (!best || score > best_score) {
            best = member;
            best_score = score;
        }
    }
    return best;
}

/* A random candidate in proportion to its weight, other than `except`. Few probes find one while
 * most are fit; else all are looked at. */
static const struct member *draw(const struct choice *choice, const struct member *except)
{
    const struct pool *pool = choice->pool;
    uint64_t most = (uint64_t)pool->max_weight * FITNESS_SCALE;
    for (unsigned i = 0; i < PROBES_MAX; i++) {
        uint64_t random = worker_random(choice->worker);
        const struct member *member = &pool->members[(random >> 32) % pool->count];
        if (member != except &&
            (random & 0xffffffff) % most < (uint64_t)weight_of(choice, member) &&
            candidate(choice, member))
            return member;
    }
    const struct member *found = NULL;
    uint64_t total = 0;
    for (size_t i = 0; i < pool->count; i++) {
        const struct member *member = &pool->members[i];
        if (member == except || !candidate(choice, member))
            continue;
        uint64_t weight = (uint64_t)weight_of(choice, member);
        total += weight;
        if (worker_random(choice->worker) % total < weight)
            found = member;
    }
    return found;
}

static const struct member *random_two(const struct choice *choice)
{
    const struct member *a = draw(choice, NULL);
    if (!a || choice->pool->count == 1)
        return a;
    const struct member *b = draw(choice, a);
    return b && less_loaded(choice, b, a) ? b : a;
}

static const struct member *choose(const struct choice *choice)
{
    switch (choice->pool->policy) {
    case BALANCE_ROUND_ROBIN:
        return round_robin(choice);
    case BALANCE_LEAST_CONNECTIONS:
        return least_connections(choice);
    case BALANCE_IP_HASH:
        return ip_hash(choice);
    case BALANCE_RANDOM_TWO:
        return random_two(choice);
    }
    return NULL;
}

static struct choice choice_of(struct worker *worker, const struct pool *pool,
                               const struct balance_ask *ask)
{
    return (struct choice){
        .worker = worker, .pool = pool, .ask = ask, .now_ms = worker_now_ms(worker)};
}

/* Whether there is a member of this stage, whatever its places. */
static bool any_fit(const struct choice *choice)
{
    for (size_t i = 0; i < choice->pool->count; i++)
        if (fit(choice, choice->pool->members[i].backend))
            return true;
    return false;
}

/* Full backends are no reason to ask one that is not fit, only to wait; a tried one that has a
 * place is better than waiting for another. */
static const struct member *search(struct choice *choice, bool *some)
{
    const struct member *member = NULL;
    enum stage first = choice->ask->tried_count ? STAGE_FRESH : STAGE_FIT;
    *some = false;
    for (choice->stage = first; choice->stage < STAGES && !member; choice->stage++) {
        if (*some && (choice->stage == STAGE_OTHER || choice->stage == STAGE_PANIC))
            continue;
        member = choose(choice);
        *some = *some || member || any_fit(choice);
    }
    return member;
}

/* One more, unless there are `max` already (0: no bound). Never counts above it, not for a moment.
 */
static bool count_up(atomic_int_fast64_t *count, int64_t max)
{
    int64_t now = atomic_load(count);
    if (max == 0) {
        atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
        return true;
    }
    do {
        if (now >= max)
            return false;
    } while (!atomic_compare_exchange_weak(count, &now, now + 1));
    return true;
}

static bool hold(struct worker *worker, const struct pool *pool, const struct member *member,
                 struct place *place)
{
    struct backend *backend = member->backend;
    if (!count_up(&backend->in_flight, member->max_connections))
        return false;
    if (!fitness_enter(backend, pool, worker_now_ms(worker), metrics_of(worker), &place->trial)) {
        atomic_fetch_sub(&backend->in_flight, 1);
        return false;
    }
    place->backend = backend;
    place->held = true;
    return true;
}

/* *lost: a place was held for a moment and given up again. */
static enum balance_result take_member(struct worker *worker, const struct pool *pool,
                                       const struct balance_ask *ask, struct place *place,
                                       bool *lost)
{
    struct choice choice = choice_of(worker, pool, ask);
    for (unsigned i = 0; i < RACES_MAX; i++) {
        bool some;
        const struct member *member = search(&choice, &some);
        if (!member)
            return some ? BALANCE_FULL : BALANCE_NONE;
        if (hold(worker, pool, member, place))
            return BALANCE_PLACED;
        *lost = true;
    }
    return BALANCE_FULL;
}

bool balance_has_room(struct worker *worker, const struct pool *pool)
{
    static const struct balance_ask any;
    int64_t max = pool->config->max_in_flight;
    struct choice choice = choice_of(worker, pool, &any);
    if (max && atomic_load(&pool->state->in_flight) >= max)
        return false;
    choice.stage = STAGE_FIT;
    if (!any_fit(&choice))
        choice.stage = STAGE_PANIC;
    for (size_t i = 0; i < pool->count; i++)
        if (candidate(&choice, &pool->members[i]))
            return true;
    return false;
}

void balance_pass_on(struct worker *worker, const struct pool *pool)
{
    struct wait_queue *queue = &pool->state->queue;
    if (wait_queue_length(queue) && balance_has_room(worker, pool))
        wait_queue_wake(queue);
}

enum balance_result balance_take(struct worker *worker, const struct pool *pool,
                                 const struct balance_ask *ask, struct place *place)
{
    int64_t max = pool->config->max_in_flight;
    bool lost = false;
    *place = (struct place){.pool = pool};
    if (max && !count_up(&pool->state->in_flight, max))
        return BALANCE_FULL;
    place->pooled = max != 0;
    enum balance_result result = take_member(worker, pool, ask, place, &lost);
    if (result != BALANCE_PLACED && place->pooled) {
        place->pooled = false;
        atomic_fetch_sub(&pool->state->in_flight, 1);
        lost = true;
    }
    /* Somebody may have found it full because of what was held for a moment. */
    if (lost)
        balance_pass_on(worker, pool);
    return result;
}

void balance_report(struct worker *worker, struct place *place, enum fitness_outcome outcome)
{
    bool failed = outcome != FITNESS_UNDECIDED && outcome != FITNESS_OK;
    if (!place->held || place->failed || (place->reported && !failed))
        return;
    /* A trial is decided by the head of the answer; what breaks later counts for itself. */
    uint64_t trial = place->reported ? 0 : place->trial;
    place->reported = true;
    place->failed = failed;
    uint64_t random = failed ? worker_random(worker) : 0;
    fitness_report(place->backend, place->pool, trial, outcome, worker_now_ms(worker), random,
                   metrics_of(worker));
}

void balance_give_back(struct worker *worker, struct place *place)
{
    if (!place->held)
        return;
    balance_report(worker, place, FITNESS_UNDECIDED);
    place->held = false;
    atomic_fetch_sub(&place->backend->in_flight, 1);
    if (place->pooled)
        atomic_fetch_sub(&place->pool->state->in_flight, 1);
    wait_queue_wake(&place->pool->state->queue);
}

bool balance_has_other(struct worker *worker, const struct pool *pool,
                       const struct balance_ask *ask, bool sound)
{
    struct choice choice = choice_of(worker, pool, ask);
    choice.stage = sound ? STAGE_FRESH : STAGE_OTHER;
    return any_fit(&choice);
}

int64_t balance_retry_after_s(struct worker *worker, const struct pool *pool)
{
    int64_t soonest = INT64_MAX;
    for (size_t i = 0; i < pool->count; i++) {
        int64_t wait = breaker_wait_ms(&pool->members[i].backend->fitness.breaker,
                                       &pool->config->circuit_breaker, worker_now_ms(worker));
        if (wait < soonest)
            soonest = wait;
    }
    return soonest / 1000 + 1;
}
