/* Decides about another attempt; balance waits and chooses, upstream sends. */
#include "services/proxy/retry.h"

#include "services/proxy/exchange.h"
#include "services/proxy/route.h"

#define FAILOVERS_MAX 3

const char *retry_reason_name(enum retry_reason reason)
{
    switch (reason) {
    case RETRY_REUSED:
        return "reused";
    case RETRY_CONNECT:
        return "connect";
    case RETRY_BROKEN:
        return "broken";
    case RETRY_STATUS:
        return "status";
    case RETRY_REASONS:
        break;
    }
    return "";
}

static int64_t limit_of(const struct exchange *exchange)
{
    const struct route *route = exchange->request.route;
    return route->attempts ? route->attempts : route->pool->config->retry.attempts;
}

bool retry_may_repeat(const struct exchange *exchange)
{
    return exchange->idempotent && limit_of(exchange) > 1;
}

void retry_begin(struct exchange *exchange)
{
    const struct pool *pool = exchange->request.route->pool;
    retry_budget_earn(&pool->state->budget, pool->config->retry.budget);
    if (retry_may_repeat(exchange))
        replay_begin(exchange, (size_t)pool->config->retry.buffer);
}

int64_t retry_delay_ms(const struct retry_config *rules, unsigned repeat, uint64_t random)
{
    int64_t delay = rules->base;
    while (repeat-- > 0 && delay < rules->max)
        delay *= 2;
    if (delay > rules->max)
        delay = rules->max;
    return delay - (int64_t)(random % (uint64_t)(delay / 2 + 1));
}

int64_t retry_after_s(h2o_iovec_t value)
{
    int64_t seconds = 0;
    if (value.len == 0 || value.len > 9)
        return -1;
    for (size_t i = 0; i < value.len; i++) {
        if (value.base[i] < '0' || value.base[i] > '9')
            return -1;
        seconds = seconds * 10 + (value.base[i] - '0');
    }
    return seconds;
}

static struct stats_pool *stats_of(struct exchange *exchange)
{
    return stats_pool(&exchange->request.worker->priv->stats, exchange->request.route->pool->state);
}

static bool has_other(struct exchange *exchange, bool sound)
{
    const struct balance_ask ask = {.tried = exchange->retry.tried,
                                    .tried_count = exchange->retry.tried_count};
    return balance_has_other(exchange->request.worker, exchange->request.route->pool, &ask, sound);
}

/* Another backend, or another address of the same name, at once: nobody was bothered yet. */
static bool fail_over(struct exchange *exchange)
{
    struct retry_state *retry = &exchange->retry;
    const struct backend_address *address =
        atomic_load_explicit(&exchange->backend->address, memory_order_acquire);
    if (retry->failovers >= FAILOVERS_MAX)
        return false;
    if (!has_other(exchange, false) && retry->failovers + 1 >= address->count)
        return false;
    retry->failovers++;
    retry->delay_ms = 0;
    return true;
}

static bool within_budget(struct exchange *exchange)
{
    const struct pool *pool = exchange->request.route->pool;
    if (retry_budget_spend(&pool->state->budget, pool->config->retry.budget))
        return true;
    metric_add(stats_of(exchange)->budget_exhausted, 1);
    return false;
}

static bool repeat(struct exchange *exchange, enum retry_reason reason, int64_t after_s)
{
    struct retry_state *retry = &exchange->retry;
    const struct retry_config *rules = &exchange->request.route->pool->config->retry;
    uint64_t random = worker_random(exchange->request.worker);
    int64_t delay = retry_delay_ms(rules, retry->repeats, random);
    bool harmless = exchange->idempotent || reason == RETRY_CONNECT || !exchange->sent_any;
    if (!harmless || retry->repeats + 1 >= limit_of(exchange))
        return false;
    if (reason == RETRY_STATUS && !has_other(exchange, true)) {
        if (after_s < 0 || after_s * 1000 > rules->max)
            return false;
        if (after_s * 1000 > delay)
            delay = after_s * 1000;
    }
    if (!within_budget(exchange))
        return false;
    retry->repeats++;
    retry->delay_ms = delay;
    return true;
}

bool retry_plan(struct exchange *exchange, enum retry_reason reason, int64_t after_s)
{
    struct retry_state *retry = &exchange->retry;
    bool again = false;
    if (exchange->responded || !replay_possible(exchange))
        return false;
    if (reason == RETRY_REUSED) {
        again = retry_may_repeat(exchange) && !exchange->fresh;
        exchange->fresh = true;
        retry->delay_ms = 0;
    } else {
        if (retry->tried_count < BALANCE_TRIED_MAX)
            retry->tried[retry->tried_count++] = exchange->backend;
        again =
            (reason == RETRY_CONNECT && fail_over(exchange)) || repeat(exchange, reason, after_s);
    }
    if (again)
        metric_add(stats_of(exchange)->retries[reason], 1);
    return again;
}
