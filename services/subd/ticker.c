/* Threads of background jobs, all of one shape, so that none of them sleeps through its end. */
#include "services/subd/ticker.h"

#include "libcommon/mem.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

struct ticker {
    ticker_step *step;
    void *ctx;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool woken, stopping;
};

static struct timespec after(int64_t ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

/* false: the thread ends. */
static bool wait_for(struct ticker *ticker, int64_t ms)
{
    struct timespec until = after(ms > 0 ? ms : 0);
    pthread_mutex_lock(&ticker->lock);
    while (!ticker->woken && !ticker->stopping) {
        if (ms == TICKER_NEVER)
            pthread_cond_wait(&ticker->changed, &ticker->lock);
        else if (pthread_cond_timedwait(&ticker->changed, &ticker->lock, &until) != 0)
            break;
    }
    ticker->woken = false;
    bool go_on = !ticker->stopping;
    pthread_mutex_unlock(&ticker->lock);
    return go_on;
}

static void *run(void *arg)
{
    struct ticker *ticker = arg;
    int64_t ms = 0;
    while (wait_for(ticker, ms))
        ms = ticker->step(ticker->ctx);
    return NULL;
}

int ticker_start(const char *name, ticker_step *step, void *ctx, struct ticker **out,
                 struct err *err)
{
    struct ticker *ticker = mem_zalloc(sizeof(*ticker));
    ticker->step = step;
    ticker->ctx = ctx;
    pthread_mutex_init(&ticker->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&ticker->changed, &attr);
    pthread_condattr_destroy(&attr);
    int failed = pthread_create(&ticker->thread, NULL, run, ticker);
    if (failed) {
        pthread_cond_destroy(&ticker->changed);
        pthread_mutex_destroy(&ticker->lock);
        free(ticker);
        return err_set(err, "cannot start the thread %s: %s", name, strerror(failed));
    }
    pthread_setname_np(ticker->thread, name);
    *out = ticker;
    return 0;
}

static void signal_ticker(struct ticker *ticker, bool stop)
{
    pthread_mutex_lock(&ticker->lock);
    ticker->woken = true;
    ticker->stopping |= stop;
    pthread_cond_signal(&ticker->changed);
    pthread_mutex_unlock(&ticker->lock);
}

void ticker_wake(struct ticker *ticker)
{
    signal_ticker(ticker, false);
}

void ticker_stop(struct ticker **ptr)
{
    struct ticker *ticker = *ptr;
    if (!ticker)
        return;
    *ptr = NULL;
    signal_ticker(ticker, true);
    pthread_join(ticker->thread, NULL);
    pthread_cond_destroy(&ticker->changed);
    pthread_mutex_destroy(&ticker->lock);
    free(ticker);
}
