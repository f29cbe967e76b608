/* The shared state of one instance: stopping and waking, on a monotonic clock. */
#include "services/payd/payd.h"

#include "libcommon/eth/sign.h"
#include "services/payd/gauges.h"

#include <time.h>

struct rpc_options payd_rpc(const struct payd *payd)
{
    const struct settings_chain *chain = &payd->settings->chain;
    return (struct rpc_options){.endpoints = chain->rpc.items,
                                .count = chain->rpc.count,
                                .chain_id = payd->target.domain.chain_id,
                                .connect_ms = chain->connect_ms,
                                .backoff_min_ms = chain->backoff_min_ms,
                                .backoff_max_ms = chain->backoff_max_ms,
                                .max_bytes = chain->max_response,
                                .clock = &clock_system,
                                .stop = &payd->stop,
                                .observe = gauges_call,
                                .ctx = payd->metrics};
}

void payd_init(struct payd *payd)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&payd->woken, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&payd->lock, NULL);
}

void payd_destroy(struct payd *payd)
{
    pthread_cond_destroy(&payd->woken);
    pthread_mutex_destroy(&payd->lock);
    settings_target_clear(&payd->target);
    sign_key_free(&payd->receipt_key);
}

static struct timespec deadline_in(int64_t ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    int64_t ns = at.tv_nsec + ms % 1000 * 1000000;
    at.tv_sec += ms / 1000 + ns / 1000000000;
    at.tv_nsec = ns % 1000000000;
    return at;
}

/* seen NULL: hints do not end the wait. */
static bool wait_for(struct payd *payd, uint64_t *seen, int64_t ms)
{
    struct timespec deadline = deadline_in(ms);
    int rc = 0;
    pthread_mutex_lock(&payd->lock);
    while (!atomic_load(&payd->stop) && rc == 0 && (seen == NULL || *seen == payd->hints))
        rc = pthread_cond_timedwait(&payd->woken, &payd->lock, &deadline);
    if (seen != NULL)
        *seen = payd->hints;
    pthread_mutex_unlock(&payd->lock);
    return atomic_load(&payd->stop);
}

bool payd_sleep(struct payd *payd, int64_t ms)
{
    return wait_for(payd, NULL, ms);
}

bool payd_wait_hint(struct payd *payd, uint64_t *seen, int64_t ms)
{
    return wait_for(payd, seen, ms);
}

void payd_stop(struct payd *payd)
{
    pthread_mutex_lock(&payd->lock);
    atomic_store(&payd->stop, true);
    pthread_cond_broadcast(&payd->woken);
    pthread_mutex_unlock(&payd->lock);
}

void payd_hint(struct payd *payd)
{
    pthread_mutex_lock(&payd->lock);
    payd->hints++;
    pthread_cond_broadcast(&payd->woken);
    pthread_mutex_unlock(&payd->lock);
}
