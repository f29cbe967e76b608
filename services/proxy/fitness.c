/* Joins the three opinions about a backend into one answer. */
#include "services/proxy/fitness.h"

#include "services/proxy/pool.h"

static bool is_down(const struct backend *backend)
{
    return atomic_load_explicit(&backend->fitness.down, memory_order_relaxed);
}

bool fitness_usable(const struct backend *backend, const struct pool *pool, int64_t now_ms)
{
    const struct fitness *state = &backend->fitness;
    return !is_down(backend) && !eject_active(&state->eject, now_ms) &&
           breaker_admits(&state->breaker, &pool->config->circuit_breaker, now_ms);
}

int64_t fitness_weight(const struct backend *backend, const struct pool *pool, int64_t weight,
                       int64_t now_ms)
{
    int64_t full = weight * FITNESS_SCALE;
    int64_t length = pool->config->slow_start;
    int64_t since = atomic_load_explicit(&backend->fitness.recovered_ms, memory_order_relaxed);
    if (length == 0 || since == 0 || now_ms - since >= length)
        return full;
    int64_t ramp = now_ms > since ? full * (now_ms - since) / length : 0;
    return ramp > full / 20 ? ramp : full / 20;
}

static struct backend_note note_of(const struct backend *backend, const struct pool *pool,
                                   struct metrics *metrics)
{
    return (struct backend_note){metrics, pool->name, backend->authority.base};
}

static void recovered(struct backend *backend, int64_t now_ms)
{
    atomic_store_explicit(&backend->fitness.recovered_ms, now_ms, memory_order_relaxed);
}

bool fitness_enter(struct backend *backend, const struct pool *pool, int64_t now_ms,
                   struct metrics *metrics, uint64_t *trial)
{
    struct backend_note note = note_of(backend, pool, metrics);
    return breaker_enter(&backend->fitness.breaker, &pool->config->circuit_breaker, now_ms, &note,
                         trial);
}

static unsigned ejected_of(const struct pool *pool, int64_t now_ms)
{
    unsigned count = 0;
    for (size_t i = 0; i < pool->count; i++)
        count += eject_active(&pool->members[i].backend->fitness.eject, now_ms);
    return count;
}

/* One at a time in the process, so that the bound on the share is exact. Who comes second does not
 * wait: the next failure asks again. */
static void eject(struct backend *backend, const struct pool *pool, int64_t now_ms, uint64_t random,
                  struct metrics *metrics)
{
    static atomic_flag busy = ATOMIC_FLAG_INIT;
    const struct passive_config *rules = &pool->config->passive;
    struct backend_note note = note_of(backend, pool, metrics);
    if (atomic_flag_test_and_set_explicit(&busy, memory_order_acquire))
        return;
    if (!eject_active(&backend->fitness.eject, now_ms) &&
        eject_allowed(rules, (unsigned)pool->count, ejected_of(pool, now_ms))) {
        int64_t until = eject_start(&backend->fitness.eject, rules, now_ms, random);
        recovered(backend, until);
        backend_note_change(&note, "ejection", "in", "out", rules->failures);
    }
    atomic_flag_clear_explicit(&busy, memory_order_release);
}

static enum breaker_result result_of(enum fitness_outcome outcome)
{
    switch (outcome) {
    case FITNESS_UNDECIDED:
        return BREAKER_UNKNOWN;
    case FITNESS_OK:
        return BREAKER_OK;
    case FITNESS_UNREACHABLE:
    case FITNESS_TIMED_OUT:
    case FITNESS_BROKE:
    case FITNESS_ERROR_STATUS:
        break;
    }
    return BREAKER_FAILED;
}

void fitness_report(struct backend *backend, const struct pool *pool, uint64_t trial,
                    enum fitness_outcome outcome, int64_t now_ms, uint64_t random,
                    struct metrics *metrics)
{
    enum breaker_result result = result_of(outcome);
    if (result == BREAKER_OK && pool->config->circuit_breaker.failures == 0)
        return;
    struct backend_note note = note_of(backend, pool, metrics);
    if (breaker_leave(&backend->fitness.breaker, &pool->config->circuit_breaker, trial, result,
                      now_ms, &note))
        recovered(backend, now_ms);
    if (result == BREAKER_FAILED &&
        eject_failed(&backend->fitness.eject, &pool->config->passive, now_ms))
        eject(backend, pool, now_ms, random, metrics);
}

bool fitness_checked(struct backend *backend, const struct pool *pool,
                     const struct health_config *rules, bool good, int64_t now_ms,
                     struct metrics *metrics)
{
    struct fitness *state = &backend->fitness;
    struct backend_note note = note_of(backend, pool, metrics);
    bool was_down = is_down(backend);
    state->good_checks = good ? state->good_checks + 1 : 0;
    state->bad_checks = good ? 0 : state->bad_checks + 1;
    bool down = was_down ? state->good_checks < rules->rise : state->bad_checks >= rules->fall;
    if (down == was_down)
        return false;
    if (!down)
        recovered(backend, now_ms);
    atomic_store_explicit(&state->down, down, memory_order_relaxed);
    backend_note_change(&note, "health", was_down ? "down" : "up", down ? "down" : "up",
                        down ? state->bad_checks : state->good_checks);
    return true;
}

void fitness_unchecked(struct backend *backend)
{
    backend->fitness.good_checks = backend->fitness.bad_checks = 0;
    atomic_store_explicit(&backend->fitness.down, false, memory_order_relaxed);
}
