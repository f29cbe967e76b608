/* Owns the deadlines of connections. libmicrohttpd's own timeout only sees silence: a client that
 * sends one byte now and then would hold its connection for ever. */
#include "libcommon/http_server_guard.h"

#include "libcommon/mem.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>

struct http_server_guarded {
    struct http_server_guarded *next;
    struct http_server_guarded **link; /* what points here */
    int fd;
    int64_t deadline_ns; /* 0: none */
};

struct http_server_guard {
    pthread_mutex_t lock;
    struct http_server_guarded *first;
    int64_t limit_ns;
};

struct http_server_guard *http_server_guard_new(int64_t limit_ns)
{
    struct http_server_guard *guard = mem_zalloc(sizeof(*guard));

    pthread_mutex_init(&guard->lock, NULL);
    guard->limit_ns = limit_ns;
    return guard;
}

void http_server_guard_free(struct http_server_guard **guard)
{
    if (*guard == NULL)
        return;
    pthread_mutex_destroy(&(*guard)->lock);
    free(*guard);
    *guard = NULL;
}

struct http_server_guarded *http_server_guard_add(struct http_server_guard *guard, int fd,
                                                  int64_t now_ns)
{
    struct http_server_guarded *guarded = mem_zalloc(sizeof(*guarded));

    guarded->fd = fd;
    guarded->deadline_ns = now_ns + guard->limit_ns;
    pthread_mutex_lock(&guard->lock);
    guarded->next = guard->first;
    guarded->link = &guard->first;
    if (guard->first != NULL)
        guard->first->link = &guarded->next;
    guard->first = guarded;
    pthread_mutex_unlock(&guard->lock);
    return guarded;
}

void http_server_guard_remove(struct http_server_guard *guard, struct http_server_guarded **guarded)
{
    pthread_mutex_lock(&guard->lock);
    *(*guarded)->link = (*guarded)->next;
    if ((*guarded)->next != NULL)
        (*guarded)->next->link = (*guarded)->link;
    pthread_mutex_unlock(&guard->lock);
    free(*guarded);
    *guarded = NULL;
}

static void set_deadline(struct http_server_guard *guard, struct http_server_guarded *guarded,
                         int64_t deadline_ns)
{
    pthread_mutex_lock(&guard->lock);
    guarded->deadline_ns = deadline_ns;
    pthread_mutex_unlock(&guard->lock);
}

void http_server_guard_arm(struct http_server_guard *guard, struct http_server_guarded *guarded,
                           int64_t now_ns)
{
    set_deadline(guard, guarded, now_ns + guard->limit_ns);
}

void http_server_guard_disarm(struct http_server_guard *guard, struct http_server_guarded *guarded)
{
    set_deadline(guard, guarded, 0);
}

size_t http_server_guard_sweep(struct http_server_guard *guard, int64_t now_ns)
{
    size_t count = 0;

    pthread_mutex_lock(&guard->lock);
    for (struct http_server_guarded *at = guard->first; at != NULL; at = at->next) {
        if (at->deadline_ns == 0 || now_ns < at->deadline_ns)
            continue;
        shutdown(at->fd, SHUT_RDWR); /* the server's thread sees the end and closes it */
        at->deadline_ns = 0;
        count++;
    }
    pthread_mutex_unlock(&guard->lock);
    return count;
}
