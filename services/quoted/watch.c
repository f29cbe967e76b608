/* A breaker and a gate. Without them each request that comes while payd is silent would hold a
 * thread until its timeout, and GET /pricing would wait behind all of them. */
#include "services/quoted/watch.h"

#include "libcommon/mem.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>

#define SLOW_MS 250 /* payd answers within a few; who waits longer waits for nobody */

struct watch {
    const struct clock *clock;
    unsigned places;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t changed;
    struct watch_view view;
    int64_t entered_ms[WATCH_PLACES_MAX]; /* 0: free */
};

static unsigned places_of(unsigned threads)
{
    unsigned kept = threads >= 4 ? threads / 4 : threads > 1;
    unsigned places = threads > kept ? threads - kept : 1;
    return places > WATCH_PLACES_MAX ? WATCH_PLACES_MAX : places;
}

struct watch *watch_new(unsigned threads, const struct clock *clock)
{
    struct watch *watch = mem_zalloc(sizeof(*watch));
    pthread_condattr_t attr;
    watch->clock = clock;
    watch->places = places_of(threads);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&watch->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&watch->lock, NULL);
    return watch;
}

void watch_free(struct watch **watch)
{
    if (*watch == NULL)
        return;
    pthread_cond_destroy(&(*watch)->changed);
    pthread_mutex_destroy(&(*watch)->lock);
    free(*watch);
    *watch = NULL;
}

static int64_t now_ms(const struct watch *watch)
{
    return clock_mono_ms(watch->clock) + 1; /* 0 is "free" */
}

/* Under the lock. -1: none is free; *oldest_ms is when the longest of them began to wait. */
static int free_place(const struct watch *watch, int64_t *oldest_ms)
{
    *oldest_ms = INT64_MAX;
    for (unsigned i = 0; i < watch->places; i++) {
        if (watch->entered_ms[i] == 0)
            return (int)i;
        if (watch->entered_ms[i] < *oldest_ms)
            *oldest_ms = watch->entered_ms[i];
    }
    return -1;
}

static bool is_refusing(const struct watch *watch)
{
    return watch->view.state == WATCH_AWAY || watch->view.state == WATCH_SIGNER;
}

static void wait_until(struct watch *watch, int64_t deadline_ms)
{
    struct timespec until = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
    pthread_cond_timedwait(&watch->changed, &watch->lock, &until);
}

enum watch_entry watch_enter(struct watch *watch, unsigned *place)
{
    enum watch_entry entry = WATCH_ENTERED;
    int64_t oldest;
    int found = -1;
    pthread_mutex_lock(&watch->lock);
    int64_t give_up = now_ms(watch) + SLOW_MS;
    while (entry == WATCH_ENTERED && (found = free_place(watch, &oldest)) < 0) {
        int64_t now = now_ms(watch);
        if (is_refusing(watch))
            break;
        if (now >= give_up || now - oldest >= SLOW_MS)
            entry = WATCH_BUSY;
        else
            wait_until(watch, oldest + SLOW_MS < give_up ? oldest + SLOW_MS : give_up);
    }
    if (is_refusing(watch))
        entry = WATCH_REFUSED;
    if (entry == WATCH_ENTERED) {
        *place = (unsigned)found;
        watch->entered_ms[found] = now_ms(watch);
    }
    pthread_mutex_unlock(&watch->lock);
    return entry;
}

void watch_leave(struct watch *watch, unsigned place)
{
    pthread_mutex_lock(&watch->lock);
    assert(place < watch->places && watch->entered_ms[place] != 0);
    watch->entered_ms[place] = 0;
    pthread_cond_signal(&watch->changed);
    pthread_mutex_unlock(&watch->lock);
}

bool watch_tell(struct watch *watch, enum watch_state state, const char *detail)
{
    struct watch_view *view = &watch->view;
    pthread_mutex_lock(&watch->lock);
    bool changed = view->state != state;
    view->state = state;
    view->heard_ms = now_ms(watch);
    snprintf(view->detail, sizeof(view->detail), "%s", detail);
    if (changed)
        pthread_cond_broadcast(&watch->changed);
    pthread_mutex_unlock(&watch->lock);
    return changed;
}

void watch_read(struct watch *watch, struct watch_view *out)
{
    pthread_mutex_lock(&watch->lock);
    *out = watch->view;
    pthread_mutex_unlock(&watch->lock);
}
