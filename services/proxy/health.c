/* The thread, its timetable, and how it changes over from one configuration to the next. */
#include "services/proxy/health.h"

#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "services/proxy/health_check.h"
#include "services/proxy/stats.h"

#include <pthread.h>
#include <string.h>

#define TICK_MS      1000 /* between two looks for the gauges */
#define UNDERWAY_MAX 128  /* checks at a time */

struct target {
    struct health_check check; /* first */
    int64_t due_ms;
};

struct health {
    struct metrics *metrics;
    CURLM *multi;
    uint64_t random;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t adopted;
    const struct pool_set *wanted;
    bool changed, stopping;
    /* of the thread alone */
    const struct pool_set *pools;
    struct target *targets;
    size_t count;
    unsigned underway;
    int64_t tick_ms;
};

static uint64_t draw(struct health *health)
{
    health->random = health->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return health->random >> 33;
}

/* Between 90 % and 110 % of the interval, so that checks do not march in step. */
static int64_t next_due(struct health *health, const struct target *target, int64_t now_ms)
{
    int64_t interval = target->check.pool->config->health->interval;
    return now_ms + interval * 9 / 10 + (int64_t)(draw(health) % (uint64_t)(interval / 5 + 1));
}

static void set_gauge(struct health *health, unsigned metric, const struct pool *pool,
                      const struct backend *backend, int64_t value)
{
    const char *const labels[] = {pool->name, backend ? backend->authority.base : NULL};
    metric_set(metrics_cell(health->metrics, metric, labels), value);
}

static void judge(struct health *health, struct target *target, bool good, const char *why)
{
    const struct pool *pool = target->check.pool;
    struct backend *backend = target->check.backend;
    int64_t now_ms = clock_mono_ms(&clock_system);
    metrics_count(health->metrics, STATS_HEALTH_CHECKS, pool->name, good ? "good" : "bad");
    if (!good)
        log_debug("health check failed", LOG_STR(POOL, pool->name),
                  LOG_STR(BACKEND, backend->authority.base), LOG_STR(ERROR, why));
    if (!fitness_checked(backend, pool, pool->config->health, good, now_ms, health->metrics))
        return;
    set_gauge(health, STATS_BACKEND_UP, pool, backend, good);
    if (!good)
        log_warn("backend is down", LOG_STR(POOL, pool->name),
                 LOG_STR(BACKEND, backend->authority.base), LOG_STR(ERROR, why));
}

static void abandon(struct health *health, struct target *target)
{
    if (!target->check.easy)
        return;
    curl_multi_remove_handle(health->multi, target->check.easy);
    health_check_end(&target->check);
    health->underway--;
}

static void begin(struct health *health, struct target *target, int64_t now_ms)
{
    struct err err;
    target->due_ms = next_due(health, target, now_ms);
    if (health_check_begin(&target->check, &err)) {
        judge(health, target, false, err.msg);
        return;
    }
    health->underway++;
    curl_multi_add_handle(health->multi, target->check.easy);
}

static void begin_due(struct health *health, int64_t now_ms)
{
    for (size_t i = 0; i < health->count && health->underway < UNDERWAY_MAX; i++)
        if (!health->targets[i].check.easy && health->targets[i].due_ms <= now_ms)
            begin(health, &health->targets[i], now_ms);
}

static void finish_done(struct health *health)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(health->multi, &left))) {
        struct target *target;
        struct err err = {.msg = ""};
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &target);
        bool good = health_check_verdict(&target->check, code, &err) == 0;
        abandon(health, target);
        judge(health, target, good, err.msg);
    }
}

static size_t count_targets(const struct pool_set *pools)
{
    size_t count = 0;
    for (size_t i = 0; pools && i < pools->count; i++)
        count += pools->pools[i].count;
    return count;
}

/* When each backend was due, by its id; 0: it was not watched. */
struct timetable {
    int64_t *due_ms;
    size_t size;
};

static struct timetable write_down(struct health *health, int64_t now_ms)
{
    struct timetable times = {.size = 0};
    for (size_t i = 0; i < health->count; i++)
        if (health->targets[i].check.backend->id >= times.size)
            times.size = health->targets[i].check.backend->id + 1;
    times.due_ms = mem_array(times.size + 1, sizeof(*times.due_ms));
    for (size_t i = 0; i < health->count; i++) {
        struct target *target = &health->targets[i];
        /* What is under way is asked again, by the new rules. */
        times.due_ms[target->check.backend->id] = target->check.easy ? now_ms : target->due_ms;
        abandon(health, target);
    }
    return times;
}

/* A backend that was watched before keeps its time; a new one is looked at now. */
static void add_targets(struct health *health, const struct pool *pool,
                        const struct timetable *times, int64_t now_ms)
{
    const struct backend_config *config = pool->config->backends.items;
    for (size_t i = 0; i < pool->count; i++) {
        struct backend *backend = pool->members[i].backend;
        if (!pool->config->health) {
            fitness_unchecked(backend);
            continue;
        }
        int64_t latest_ms = now_ms + pool->config->health->interval;
        int64_t due_ms = backend->id < times->size ? times->due_ms[backend->id] : 0;
        health->targets[health->count++] =
            (struct target){.check = {.pool = pool, .backend = backend, .config = &config[i]},
                            .due_ms = due_ms < latest_ms ? due_ms : latest_ms};
    }
}

static void show_backend(struct health *health, const struct pool *pool,
                         const struct backend *backend, int64_t now_ms)
{
    const struct fitness *fitness = &backend->fitness;
    set_gauge(health, STATS_BACKEND_UP, pool, backend, !atomic_load(&fitness->down));
    set_gauge(health, STATS_BACKEND_EJECTED, pool, backend, eject_active(&fitness->eject, now_ms));
    set_gauge(health, STATS_BACKEND_BREAKER, pool, backend, breaker_state(&fitness->breaker));
    set_gauge(health, STATS_BACKEND_IN_FLIGHT, pool, backend, atomic_load(&backend->in_flight));
}

static void show(struct health *health, int64_t now_ms)
{
    if (now_ms < health->tick_ms)
        return;
    health->tick_ms = now_ms + TICK_MS;
    for (size_t i = 0; health->pools && i < health->pools->count; i++) {
        const struct pool *pool = &health->pools->pools[i];
        set_gauge(health, STATS_QUEUE_LENGTH, pool, NULL, wait_queue_length(&pool->state->queue));
        for (size_t j = 0; j < pool->count; j++)
            show_backend(health, pool, pool->members[j].backend, now_ms);
    }
}

/* What is not in the next configuration is looked at no more, and must not go on being shown as it
 * was last: nothing is at it, and nothing is held against it. */
static void clear_gauges(struct health *health)
{
    for (size_t i = 0; health->pools && i < health->pools->count; i++) {
        const struct pool *pool = &health->pools->pools[i];
        set_gauge(health, STATS_QUEUE_LENGTH, pool, NULL, 0);
        for (size_t j = 0; j < pool->count; j++) {
            const struct backend *backend = pool->members[j].backend;
            set_gauge(health, STATS_BACKEND_UP, pool, backend, 1);
            set_gauge(health, STATS_BACKEND_EJECTED, pool, backend, 0);
            set_gauge(health, STATS_BACKEND_BREAKER, pool, backend, BREAKER_CLOSED);
            set_gauge(health, STATS_BACKEND_IN_FLIGHT, pool, backend, 0);
        }
    }
}

static void adopt(struct health *health, const struct pool_set *pools)
{
    int64_t now_ms = clock_mono_ms(&clock_system);
    struct timetable times = write_down(health, now_ms);
    free(health->targets);
    health->targets = mem_array(count_targets(pools) + 1, sizeof(*health->targets));
    health->count = 0;
    clear_gauges(health);
    health->pools = pools;
    health->tick_ms = 0;
    for (size_t i = 0; pools && i < pools->count; i++)
        add_targets(health, &pools->pools[i], &times, now_ms);
    free(times.due_ms);
    show(health, now_ms);
}

static int wait_ms(const struct health *health, int64_t now_ms)
{
    int64_t soonest = health->tick_ms;
    for (size_t i = 0; i < health->count && health->underway < UNDERWAY_MAX; i++)
        if (!health->targets[i].check.easy && health->targets[i].due_ms < soonest)
            soonest = health->targets[i].due_ms;
    return soonest > now_ms ? (int)(soonest - now_ms) : 0;
}

/* False: the end. */
static bool follow_orders(struct health *health)
{
    pthread_mutex_lock(&health->lock);
    if (health->changed) {
        adopt(health, health->wanted);
        health->changed = false;
        pthread_cond_broadcast(&health->adopted);
    }
    bool go_on = !health->stopping;
    pthread_mutex_unlock(&health->lock);
    return go_on;
}

static void *thread_main(void *arg)
{
    struct health *health = arg;
    int running;
    pthread_setname_np(pthread_self(), "health");
    while (follow_orders(health)) {
        int64_t now_ms = clock_mono_ms(&clock_system);
        begin_due(health, now_ms);
        curl_multi_perform(health->multi, &running);
        finish_done(health);
        show(health, now_ms);
        curl_multi_poll(health->multi, NULL, 0, wait_ms(health, now_ms), NULL);
    }
    return NULL;
}

int health_start(struct metrics *metrics, struct health **out, struct err *err)
{
    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return err_set(err, "health checks: libcurl does not start");
    struct health *health = mem_zalloc(sizeof(*health));
    health->metrics = metrics;
    health->random = (uint64_t)clock_mono_ns(&clock_system);
    health->multi = curl_multi_init();
    pthread_mutex_init(&health->lock, NULL);
    pthread_cond_init(&health->adopted, NULL);
    int status = pthread_create(&health->thread, NULL, thread_main, health);
    if (status != 0) {
        curl_multi_cleanup(health->multi);
        free(health);
        return err_set(err, "health checks: %s", strerror(status));
    }
    *out = health;
    return 0;
}

void health_follow(struct health *health, const struct pool_set *pools)
{
    pthread_mutex_lock(&health->lock);
    health->wanted = pools;
    health->changed = true;
    curl_multi_wakeup(health->multi);
    while (health->changed)
        pthread_cond_wait(&health->adopted, &health->lock);
    pthread_mutex_unlock(&health->lock);
}

void health_stop(struct health **health)
{
    if (!*health)
        return;
    pthread_mutex_lock(&(*health)->lock);
    (*health)->stopping = true;
    pthread_mutex_unlock(&(*health)->lock);
    curl_multi_wakeup((*health)->multi);
    pthread_join((*health)->thread, NULL);
    adopt(*health, NULL);
    free((*health)->targets);
    curl_multi_cleanup((*health)->multi);
    curl_global_cleanup();
    pthread_cond_destroy(&(*health)->adopted);
    pthread_mutex_destroy(&(*health)->lock);
    free(*health);
    *health = NULL;
}
