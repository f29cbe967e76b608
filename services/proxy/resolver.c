/* One thread, one look at every name each interval. */
#include "services/proxy/resolver.h"

#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "services/proxy/registry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define INTERVAL_S 1

struct resolver {
    struct registry *registry;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t stop;
    atomic_bool stopping;
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

/* Where name servers are away each look takes its time: the end does not wait for all of them. */
static void look_up_all(struct resolver *resolver)
{
    struct backend_list list = registry_list(resolver->registry);
    for (size_t i = 0; i < list.count && !atomic_load(&resolver->stopping); i++)
        look_up(list.items[i]);
    registry_drop_list(resolver->registry, &list);
}

static void *thread_main(void *arg)
{
    struct resolver *resolver = arg;
    pthread_mutex_lock(&resolver->lock);
    while (!resolver->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += INTERVAL_S;
        if (pthread_cond_timedwait(&resolver->stop, &resolver->lock, &until) == 0)
            continue;
        pthread_mutex_unlock(&resolver->lock);
        look_up_all(resolver);
        pthread_mutex_lock(&resolver->lock);
    }
    pthread_mutex_unlock(&resolver->lock);
    return NULL;
}

int resolver_start(struct registry *registry, struct resolver **out, struct err *err)
{
    *out = NULL;
    struct resolver *resolver = mem_zalloc(sizeof(*resolver));
    resolver->registry = registry;
    pthread_mutex_init(&resolver->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&resolver->stop, &attr);
    pthread_condattr_destroy(&attr);
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
