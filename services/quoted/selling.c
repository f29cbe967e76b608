/* A thread that asks payd once a second where no request did, so that an outage is seen without
 * customers and ends without them, and puts what all of it comes to where operators look. */
#include "services/quoted/selling.h"

#include "libcommon/log.h"
#include "services/quoted/ask.h"
#include "services/quoted/gauges.h"

#include <time.h>

#define PROBE_MS 1000
#define AWAY_MS  250 /* the same while there are no quotes */
#define AGAIN_MS 100 /* between two probes, however often something changes */

const char *selling_reason(enum selling_state state)
{
    switch (state) {
    case SELLING_STARTING:
        return "starting";
    case SELLING:
        return NULL;
    case SELLING_NO_BOOK:
        return "price-book";
    case SELLING_NO_STORE:
        return "store";
    case SELLING_NO_CHAIN:
        return "chain-unavailable";
    case SELLING_NO_SIGNER:
        return "signer-mismatch";
    }
    return NULL;
}

static enum selling_state judge(struct quoted *quoted, const struct watch_view *view)
{
    struct pricebook *book = quoted_book(quoted);
    bool in_force = book != NULL;
    quoted_give_back(quoted, &book);
    if (!in_force)
        return SELLING_NO_BOOK;
    if (!redis_healthy(quoted->redis))
        return SELLING_NO_STORE;
    switch (view->state) {
    case WATCH_UNKNOWN:
        return SELLING_STARTING;
    case WATCH_OPEN:
        return SELLING;
    case WATCH_AWAY:
        return SELLING_NO_CHAIN;
    case WATCH_SIGNER:
        return SELLING_NO_SIGNER;
    }
    return SELLING_STARTING;
}

static void tell_chain(struct quoted *quoted, const struct watch_view *view)
{
    bool mismatch = view->state == WATCH_SIGNER;
    const char *detail = view->state == WATCH_UNKNOWN ? "not asked yet" : view->detail;
    service_dependency(quoted->service, "chain", false, view->state == WATCH_OPEN, detail);
    metric_set(metrics_cell(quoted->metrics, GAUGES_SIGNER_MISMATCH, NULL), mismatch);
}

void selling_read(struct quoted *quoted, struct selling_view *out)
{
    struct watch_view view;
    watch_read(quoted->watch, &view);
    enum selling_state state = judge(quoted, &view);
    pthread_mutex_lock(&quoted->selling.lock);
    struct selling_view *last = &quoted->selling.view;
    bool changed = last->state != state;
    if (changed || last->since_s == 0)
        *last = (struct selling_view){state, clock_wall_s(quoted->clock)};
    *out = *last;
    pthread_mutex_unlock(&quoted->selling.lock);
    tell_chain(quoted, &view);
    service_mode(quoted->service, state == SELLING ? "full" : "read-only");
    metric_set(metrics_cell(quoted->metrics, GAUGES_SELLING, NULL), state == SELLING);
    if (!changed)
        return;
    if (state == SELLING)
        log_info("quotes are given", LOG_STR(STATE, "selling"));
    else
        log_warn("no quotes are given", LOG_STR(STATE, selling_reason(state)),
                 LOG_STR(ERROR, view.detail));
}

void selling_changed(struct quoted *quoted)
{
    pthread_mutex_lock(&quoted->selling.lock);
    quoted->selling.look = true;
    pthread_cond_signal(&quoted->selling.woken);
    pthread_mutex_unlock(&quoted->selling.lock);
}

/* true: stopping. */
static bool wait_ms(struct selling *selling, int64_t now_ms, int64_t ms, bool until_look)
{
    int64_t deadline = now_ms + ms;
    struct timespec until = {.tv_sec = deadline / 1000, .tv_nsec = deadline % 1000 * 1000000};
    int rc = 0;
    pthread_mutex_lock(&selling->lock);
    while (!selling->stopping && !(until_look && selling->look) && rc == 0)
        rc = pthread_cond_timedwait(&selling->woken, &selling->lock, &until);
    if (until_look)
        selling->look = false;
    bool stopping = selling->stopping;
    pthread_mutex_unlock(&selling->lock);
    return stopping;
}

/* A request was answered just now: that is as good as a probe. */
static bool heard_lately(struct quoted *quoted, const struct watch_view *view)
{
    return view->state == WATCH_OPEN &&
           clock_mono_ms(quoted->clock) - view->heard_ms < PROBE_MS - AGAIN_MS;
}

static void *run(void *arg)
{
    struct quoted *quoted = arg;
    struct selling *selling = &quoted->selling;
    struct selling_view ours;
    do {
        struct watch_view view;
        watch_read(quoted->watch, &view);
        /* While the bus is on its way up for the first time there is nothing to say yet. */
        if (!heard_lately(quoted, &view) &&
            (view.state != WATCH_UNKNOWN || bus_connected(quoted->bus)))
            ask_probe(quoted);
        selling_read(quoted, &ours);
    } while (!wait_ms(selling, clock_mono_ms(quoted->clock), AGAIN_MS, false) &&
             !wait_ms(selling, clock_mono_ms(quoted->clock),
                      (ours.state == SELLING ? PROBE_MS : AWAY_MS) - AGAIN_MS, true));
    return NULL;
}

void selling_start(struct quoted *quoted)
{
    struct selling *selling = &quoted->selling;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&selling->woken, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&selling->lock, NULL);
    selling->started = true;
    if (pthread_create(&selling->thread, NULL, run, quoted) != 0)
        abort();
}

void selling_stop(struct quoted *quoted)
{
    struct selling *selling = &quoted->selling;
    if (!selling->started)
        return;
    pthread_mutex_lock(&selling->lock);
    selling->stopping = true;
    pthread_cond_signal(&selling->woken);
    pthread_mutex_unlock(&selling->lock);
    pthread_join(selling->thread, NULL);
    selling->started = false;
    pthread_cond_destroy(&selling->woken);
    pthread_mutex_destroy(&selling->lock);
}
