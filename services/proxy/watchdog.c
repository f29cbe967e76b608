/* Time is what this thread itself has lived through, in short steps: a process that was stopped, or
 * a machine that slept, is not taken for stuck. */
#include "services/proxy/watchdog.h"

#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "libcommon/service.h"
#include "services/proxy/worker_private.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define LOOK_MIN_MS 20
#define LOOK_MAX_MS 1000

struct watchdog {
    struct service *service;
    struct worker *const *workers;
    size_t count;
    struct watched *watched;
    pthread_t thread;
    pthread_mutex_t lock; /* the rest */
    pthread_cond_t changed;
    struct watchdog_config rules;
    int64_t end_ms; /* left until the process has to be gone; 0: it goes on */
    bool stopping;
};

enum watchdog_verdict watchdog_look(struct watched *watched, int64_t turn_ns, int64_t elapsed_ms,
                                    const struct watchdog_config *rules)
{
    bool was_stuck = watched->stuck;
    bool same = turn_ns != 0 && turn_ns == watched->turn_ns;
    watched->turn_ns = turn_ns;
    watched->still_ms = same ? watched->still_ms + elapsed_ms : 0;
    watched->stuck = watched->still_ms >= rules->stuck;
    if (rules->abort > 0 && watched->still_ms >= rules->abort)
        return WATCHDOG_HOPELESS;
    if (watched->stuck != was_stuck)
        return watched->stuck ? WATCHDOG_STUCK : WATCHDOG_RECOVERED;
    return WATCHDOG_FINE;
}

/* The core shows where it hangs; the supervisor starts another. */
static _Noreturn void give_up(void)
{
    log_stop_writer();
    abort();
}

static void look_at(struct watchdog *watchdog, size_t i, int64_t elapsed_ms,
                    const struct watchdog_config *rules)
{
    struct watched *watched = &watchdog->watched[i];
    struct worker_private *priv = watchdog->workers[i]->priv;
    int64_t turn_ns = atomic_load_explicit(&priv->turn_ns, memory_order_relaxed);
    switch (watchdog_look(watched, turn_ns, elapsed_ms, rules)) {
    case WATCHDOG_FINE:
        break;
    case WATCHDOG_STUCK:
        log_error("a loop is stuck", LOG_UINT(WORKER, i), LOG_INT(DURATION_MS, watched->still_ms));
        break;
    case WATCHDOG_RECOVERED:
        log_warn("a loop turns again", LOG_UINT(WORKER, i));
        break;
    case WATCHDOG_HOPELESS:
        log_error("a loop stays stuck: the process is aborted", LOG_UINT(WORKER, i),
                  LOG_INT(DURATION_MS, watched->still_ms));
        give_up();
    }
}

static void look(struct watchdog *watchdog, int64_t elapsed_ms, const struct watchdog_config *rules)
{
    int64_t stuck = 0;
    for (size_t i = 0; i < watchdog->count; i++) {
        look_at(watchdog, i, elapsed_ms, rules);
        stuck += watchdog->watched[i].stuck;
    }
    service_stalled(watchdog->service, stuck > 0);
    metric_set(metrics_cell(service_metrics(watchdog->service), STATS_LOOPS_STUCK, NULL), stuck);
}

static void count_down(struct watchdog *watchdog, int64_t elapsed_ms)
{
    if (watchdog->end_ms == 0)
        return;
    watchdog->end_ms -= elapsed_ms;
    if (watchdog->end_ms > 0)
        return;
    log_error("the drain does not end: the process is aborted");
    give_up();
}

static int64_t pause_of(const struct watchdog_config *rules)
{
    int64_t pause = rules->stuck / 4;
    if (pause < LOOK_MIN_MS)
        return LOOK_MIN_MS;
    return pause < LOOK_MAX_MS ? pause : LOOK_MAX_MS;
}

static void wait_ms(struct watchdog *watchdog, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + ms % 1000 * 1000000;
    until.tv_sec += ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_cond_timedwait(&watchdog->changed, &watchdog->lock, &until);
}

static void *thread_main(void *arg)
{
    struct watchdog *watchdog = arg;
    int64_t last_ms = clock_mono_ms(&clock_system);
    pthread_mutex_lock(&watchdog->lock);
    while (!watchdog->stopping) {
        struct watchdog_config rules = watchdog->rules;
        int64_t pause = pause_of(&rules);
        wait_ms(watchdog, pause);
        int64_t now_ms = clock_mono_ms(&clock_system);
        int64_t lived = now_ms - last_ms < 2 * pause ? now_ms - last_ms : 2 * pause;
        last_ms = now_ms;
        count_down(watchdog, lived);
        look(watchdog, lived, &rules);
    }
    pthread_mutex_unlock(&watchdog->lock);
    return NULL;
}

int watchdog_start(struct service *service, struct worker *const *workers, size_t count,
                   const struct watchdog_config *rules, struct watchdog **out, struct err *err)
{
    struct watchdog *watchdog = mem_zalloc(sizeof(*watchdog));
    pthread_condattr_t attr;
    watchdog->service = service;
    watchdog->workers = workers;
    watchdog->count = count;
    watchdog->watched = mem_array(count, sizeof(*watchdog->watched));
    watchdog->rules = *rules;
    pthread_mutex_init(&watchdog->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&watchdog->changed, &attr);
    pthread_condattr_destroy(&attr);
    int status = pthread_create(&watchdog->thread, NULL, thread_main, watchdog);
    if (status == 0) {
        *out = watchdog;
        return 0;
    }
    free(watchdog->watched);
    free(watchdog);
    return err_set(err, "watchdog: %s", strerror(status));
}

void watchdog_follow(struct watchdog *watchdog, const struct watchdog_config *rules)
{
    pthread_mutex_lock(&watchdog->lock);
    watchdog->rules = *rules;
    pthread_mutex_unlock(&watchdog->lock);
}

void watchdog_end_within(struct watchdog *watchdog, int64_t ms)
{
    pthread_mutex_lock(&watchdog->lock);
    watchdog->end_ms = ms;
    pthread_mutex_unlock(&watchdog->lock);
}

void watchdog_stop(struct watchdog **watchdog)
{
    if (!*watchdog)
        return;
    pthread_mutex_lock(&(*watchdog)->lock);
    (*watchdog)->stopping = true;
    pthread_cond_signal(&(*watchdog)->changed);
    pthread_mutex_unlock(&(*watchdog)->lock);
    pthread_join((*watchdog)->thread, NULL);
    pthread_cond_destroy(&(*watchdog)->changed);
    pthread_mutex_destroy(&(*watchdog)->lock);
    free((*watchdog)->watched);
    free(*watchdog);
    *watchdog = NULL;
}
