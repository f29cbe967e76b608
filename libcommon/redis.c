/* A pool of Redis connections that are opened when they are needed, and a monitor that keeps one of
 * its own to know whether the server is there: while it is away, callers are refused at once
 * instead of each waiting for a timeout. Nothing that was sent is ever sent again. */
#include "libcommon/redis.h"

#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/redis_url.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define PING_MS        1000
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 3000
#define MAX_REPLY_TEXT 200

struct slot {
    redisContext *link; /* NULL: not open */
    bool busy;
};

struct redis {
    struct redis_url *url;
    int64_t timeout_ms;
    void (*on_health)(void *ctx, bool ok, const char *detail);
    void *ctx;
    pthread_t monitor;

    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t changed;
    struct slot *slots;
    unsigned size;
    bool healthy, told, stopping;
    bool suspect; /* a command failed: look at once */
};

static int64_t now_ms(void)
{
    return clock_mono_ms(&clock_system);
}

static void wait_until(struct redis *redis, int64_t deadline_ms)
{
    struct timespec until = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
    pthread_cond_timedwait(&redis->changed, &redis->lock, &until);
}

void redis_reply_free(redisReply **reply)
{
    if (*reply != NULL)
        freeReplyObject(*reply);
    *reply = NULL;
}

static void close_link(redisContext **link)
{
    if (*link != NULL)
        redisFree(*link);
    *link = NULL;
}

/* hiredis reports a timeout in the words of errno. */
static int fail(const redisContext *link, const char *what, struct err *err)
{
    if (link->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK))
        return err_set(err, "redis: %s: no answer in time", what);
    return err_set(err, "redis: %s: %s", what, link->errstr);
}

static struct timeval to_timeval(int64_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* A command of the greeting. What the server says is not passed on: it may repeat the password. */
static int greet(redisContext *link, int argc, const char **argv, const char *what, struct err *err)
{
    AUTO_REDIS_REPLY redisReply *reply = redisCommandArgv(link, argc, argv, NULL);
    if (reply == NULL)
        return fail(link, what, err);
    if (reply->type == REDIS_REPLY_ERROR)
        return err_set(err, "redis: %s was refused", what);
    return 0;
}

static int authenticate(redisContext *link, const struct redis_url *url, struct err *err)
{
    if (url->password == NULL)
        return 0;
    const char *argv[] = {"AUTH", url->user == NULL ? url->password : url->user, url->password};
    return greet(link, url->user == NULL ? 2 : 3, argv, "authentication", err);
}

static int open_link(struct redis *redis, redisContext **out, struct err *err)
{
    const struct redis_url *url = redis->url;
    struct timeval timeout = to_timeval(redis->timeout_ms);
    redisContext *link = url->path != NULL ? redisConnectUnixWithTimeout(url->path, timeout)
                                           : redisConnectWithTimeout(url->host, url->port, timeout);
    if (link == NULL)
        abort();
    char db[16];
    snprintf(db, sizeof(db), "%d", url->db);
    const char *select[] = {"SELECT", db};
    int rc = 0;
    if (link->err != 0 || redisSetTimeout(link, timeout) != REDIS_OK)
        rc = fail(link, "connect", err);
    else
        rc = authenticate(link, url, err);
    if (rc == 0 && url->db != 0)
        rc = greet(link, 2, select, "the database's number", err);
    if (rc != 0)
        close_link(&link);
    *out = link;
    return rc;
}

static int ping(struct redis *redis, redisContext **link, struct err *err)
{
    if (*link == NULL && open_link(redis, link, err) != 0)
        return -1;
    const char *argv[] = {"PING"};
    AUTO_REDIS_REPLY redisReply *reply = redisCommandArgv(*link, 1, argv, NULL);
    if (reply == NULL)
        fail(*link, "PING", err);
    else if (reply->type == REDIS_REPLY_ERROR) /* LOADING, NOAUTH */
        err_set(err, "redis: %.*s", MAX_REPLY_TEXT, reply->str);
    else
        return 0;
    close_link(link);
    return -1;
}

static void tell_health(struct redis *redis, bool ok, const char *detail)
{
    pthread_mutex_lock(&redis->lock);
    bool changed = !redis->told || redis->healthy != ok;
    redis->told = true;
    redis->healthy = ok;
    pthread_cond_broadcast(&redis->changed);
    pthread_mutex_unlock(&redis->lock);
    if (!changed)
        return;
    if (ok)
        log_info("redis is connected", LOG_STR(DEPENDENCY, "redis"));
    else
        log_warn("redis is away", LOG_STR(DEPENDENCY, "redis"), LOG_STR(ERROR, detail));
    if (redis->on_health != NULL)
        redis->on_health(redis->ctx, ok, detail);
}

static int64_t jittered(int64_t ms)
{
    uint32_t random;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return ms;
    return ms / 2 + random % (uint32_t)(ms / 2 + 1);
}

static void *monitor(void *arg)
{
    struct redis *redis = arg;
    redisContext *link = NULL;
    int64_t backoff = BACKOFF_MIN_MS;
    pthread_mutex_lock(&redis->lock);
    while (!redis->stopping) {
        struct err err = {""};
        redis->suspect = false;
        pthread_mutex_unlock(&redis->lock);
        bool ok = ping(redis, &link, &err) == 0;
        tell_health(redis, ok, err.msg);
        pthread_mutex_lock(&redis->lock);
        int64_t deadline = now_ms() + (ok ? PING_MS : jittered(backoff));
        backoff = ok ? BACKOFF_MIN_MS : 2 * backoff > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : 2 * backoff;
        while (!redis->stopping && !(ok && redis->suspect) && now_ms() < deadline)
            wait_until(redis, deadline);
    }
    pthread_mutex_unlock(&redis->lock);
    close_link(&link);
    return NULL;
}

int redis_new(const struct redis_options *options, struct redis **out, struct err *err)
{
    struct redis_url *url;
    if (redis_url_parse(options->url, &url, err) != 0)
        return -1;
    struct redis *redis = mem_zalloc(sizeof(*redis));
    redis->url = url;
    redis->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : 1000;
    redis->on_health = options->on_health;
    redis->ctx = options->ctx;
    redis->size = options->size > 0 ? options->size : 4;
    redis->slots = mem_array(redis->size, sizeof(*redis->slots));
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&redis->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&redis->lock, NULL);
    signal(SIGPIPE, SIG_IGN); /* hiredis writes to sockets that may be closed */
    if (pthread_create(&redis->monitor, NULL, monitor, redis) != 0)
        abort();
    *out = redis;
    return 0;
}

void redis_free(struct redis **redisp)
{
    struct redis *redis = *redisp;
    if (redis == NULL)
        return;
    *redisp = NULL;
    pthread_mutex_lock(&redis->lock);
    redis->stopping = true;
    pthread_cond_broadcast(&redis->changed);
    pthread_mutex_unlock(&redis->lock);
    pthread_join(redis->monitor, NULL);
    for (unsigned i = 0; i < redis->size; i++) {
        assert(!redis->slots[i].busy); /* whoever runs a command would use freed memory */
        close_link(&redis->slots[i].link);
    }
    pthread_cond_destroy(&redis->changed);
    pthread_mutex_destroy(&redis->lock);
    redis_url_free(&redis->url);
    free(redis->slots);
    free(redis);
}

bool redis_healthy(struct redis *redis)
{
    pthread_mutex_lock(&redis->lock);
    bool healthy = redis->healthy;
    pthread_mutex_unlock(&redis->lock);
    return healthy;
}

/* Under the lock; an open one first. */
static struct slot *free_slot(struct redis *redis)
{
    struct slot *found = NULL;
    for (unsigned i = 0; i < redis->size; i++) {
        struct slot *slot = &redis->slots[i];
        if (!slot->busy && (found == NULL || (found->link == NULL && slot->link != NULL)))
            found = slot;
    }
    return found;
}

static struct slot *acquire(struct redis *redis, struct err *err)
{
    int64_t deadline = now_ms() + redis->timeout_ms;
    pthread_mutex_lock(&redis->lock);
    while (!redis->told && !redis->stopping && now_ms() < deadline)
        wait_until(redis, deadline);
    struct slot *slot = NULL;
    while (redis->healthy && (slot = free_slot(redis)) == NULL && now_ms() < deadline)
        wait_until(redis, deadline);
    if (slot != NULL)
        slot->busy = true;
    bool healthy = redis->healthy;
    pthread_mutex_unlock(&redis->lock);
    if (slot == NULL)
        err_set(err, healthy ? "redis: every connection is in use" : "redis cannot be reached");
    return slot;
}

static void release(struct redis *redis, struct slot *slot)
{
    pthread_mutex_lock(&redis->lock);
    slot->busy = false;
    redis->suspect = redis->suspect || slot->link == NULL;
    pthread_cond_broadcast(&redis->changed);
    pthread_mutex_unlock(&redis->lock);
}

/* Anything readable on an idle connection is its end. */
static bool is_dead(const redisContext *link)
{
    struct pollfd fd = {.fd = link->fd, .events = POLLIN};
    return poll(&fd, 1, 0) != 0;
}

static int run_on(struct redis *redis, struct slot *slot, int argc, const char *const *argv,
                  const size_t *lens, redisReply **out, struct err *err)
{
    if (slot->link != NULL && is_dead(slot->link))
        close_link(&slot->link);
    if (slot->link == NULL && open_link(redis, &slot->link, err) != 0)
        return -1;
    const char **mutable = (const char **)(uintptr_t)argv; /* hiredis lacks the const */
    redisReply *reply = redisCommandArgv(slot->link, argc, mutable, lens);
    if (reply == NULL) {
        fail(slot->link, argv[0], err);
        close_link(&slot->link);
        return -1;
    }
    *out = reply;
    return 0;
}

int redis_run(struct redis *redis, int argc, const char *const *argv, const size_t *lens,
              redisReply **out, struct err *err)
{
    *out = NULL;
    struct slot *slot = acquire(redis, err);
    if (slot == NULL)
        return -1;
    int rc = run_on(redis, slot, argc, argv, lens, out, err);
    release(redis, slot);
    if (rc != 0)
        return -1;
    if ((*out)->type == REDIS_REPLY_ERROR) {
        err_set(err, "redis: %s: %.*s", argv[0], MAX_REPLY_TEXT, (*out)->str);
        redis_reply_free(out);
        return -1;
    }
    return 0;
}

int redis_cmd(struct redis *redis, int argc, const char *const *argv, redisReply **out,
              struct err *err)
{
    return redis_run(redis, argc, argv, NULL, out, err);
}

/* Two threads that come first write the same digits; the lock makes it one. */
static void script_sha(struct redis_script *script, char out[41])
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    unsigned char hash[20];
    pthread_mutex_lock(&lock);
    if (script->sha[0] == '\0') {
        if (EVP_Digest(script->text, strlen(script->text), hash, NULL, EVP_sha1(), NULL) != 1)
            abort();
        for (size_t i = 0; i < sizeof(hash); i++)
            snprintf(script->sha + 2 * i, 3, "%02x", hash[i]);
    }
    memcpy(out, script->sha, 41);
    pthread_mutex_unlock(&lock);
}

int redis_eval(struct redis *redis, struct redis_script *script, int keys, int argc,
               const char *const *argv, redisReply **out, struct err *err)
{
    char sha[41], count[12];
    struct err local;
    script_sha(script, sha);
    snprintf(count, sizeof(count), "%d", keys);
    AUTO_FREE void *owned = mem_array((size_t)argc + 3, sizeof(char *));
    const char **all = owned;
    all[0] = "EVALSHA";
    all[1] = sha;
    all[2] = count;
    for (int i = 0; i < argc; i++)
        all[3 + i] = argv[i];
    if (redis_cmd(redis, argc + 3, all, out, &local) == 0)
        return 0;
    if (strstr(local.msg, "NOSCRIPT") == NULL)
        return err_set(err, "%s", local.msg);
    all[0] = "EVAL";
    all[1] = script->text;
    return redis_cmd(redis, argc + 3, all, out, err);
}
