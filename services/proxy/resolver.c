/* One thread, one look at every name each interval. */
#include "services/proxy/resolver.h"

#include "libcommon/log.h"
#include "libcommon/mem.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define INTERVAL_S 1

struct resolver {
    struct pool_set *pools;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t stop;
    bool stopping;
};

static void look_up(struct backend *backend)
{
    struct err err;
    bool known = atomic_load(&backend->address) != NULL;
    if (backend->literal)
        return;
    if (backend_resolve(backend, &err))
        log_debug("backend not resolved", LOG_STR(BACKEND, backend->authority.base),
                  LOG_STR(ERROR, err.msg));
    else if (!known)
        log_info("backend resolved", LOG_STR(BACKEND, backend->authority.base));
}

static void *thread_main(void *arg)
{
    struct resolver *resolver = arg;
    pthread_mutex_lock(&resolver->lock);
    while (!resolver->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += INTERVAL_S;
        if (pthread_cond_timedwait(&resolver->stop, &resolver->lock, &until) == 0)
            continue;
        pthread_mutex_unlock(&resolver->lock);
        for (size_t i = 0; i < resolver->pools->count; i++)
            for (size_t j = 0; j < resolver->pools->pools[i].count; j++)
                look_up(&resolver->pools->pools[i].backends[j]);
        pthread_mutex_lock(&resolver->lock);
    }
    pthread_mutex_unlock(&resolver->lock);
    return NULL;
}

static bool all_literal(const struct pool_set *pools)
{
    for (size_t i = 0; i < pools->count; i++)
        for (size_t j = 0; j < pools->pools[i].count; j++)
            if (!pools->pools[i].backends[j].literal)
                return false;
    return true;
}

int resolver_start(struct pool_set *pools, struct resolver **out, struct err *err)
{
    *out = NULL;
    if (all_literal(pools))
        return 0;
    struct resolver *resolver = mem_zalloc(sizeof(*resolver));
    resolver->pools = pools;
    pthread_mutex_init(&resolver->lock, NULL);
    pthread_cond_init(&resolver->stop, NULL);
    int status = pthread_create(&resolver->thread, NULL, thread_main, resolver);
    if (status != 0) {
        free(resolver);
        return err_set(err, "resolver: %s", strerror(status));
    }
    *out = resolver;
    return 0;
}

void resolver_stop(struct resolver **resolver)
{
    if (!*resolver)
        return;
    pthread_mutex_lock(&(*resolver)->lock);
    (*resolver)->stopping = true;
    pthread_cond_signal(&(*resolver)->stop);
    pthread_mutex_unlock(&(*resolver)->lock);
    pthread_join((*resolver)->thread, NULL);
    pthread_cond_destroy(&(*resolver)->stop);
    pthread_mutex_destroy(&(*resolver)->lock);
    free(*resolver);
    *resolver = NULL;
}
