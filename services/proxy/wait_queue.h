/* Requests of one pool that wait for a place, oldest first, over all workers. The lock is taken
 * only by those who wait and those who wake them: while nobody waits, the path reads one counter. A
 * waiter that was woken still counts until it has got its place or given up, so that nobody who
 * comes later overtakes it. */
#ifndef PROXY_WAIT_QUEUE_H
#define PROXY_WAIT_QUEUE_H

#include "services/proxy/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum waiter_state { WAITER_LINKED, WAITER_WOKEN };

/* Owned by the one who waits while LINKED, by the message while WOKEN. */
struct waiter {
    struct worker_message message; /* first */
    struct waiter *prev, *next;
    uint64_t number; /* order of arrival */
    enum waiter_state state;
    /* Under the queue's lock, on whatever thread: sends `message`. */
    void (*wake)(struct waiter *waiter);
};

struct wait_queue {
    pthread_mutex_t lock;
    struct waiter *first, *last;
    uint64_t arrivals;
    atomic_uint waiting; /* linked and woken */
};

void wait_queue_init(struct wait_queue *queue);
void wait_queue_destroy(struct wait_queue *queue);
/* How many wait. A newcomer that sees any joins them without trying. */
unsigned wait_queue_length(const struct wait_queue *queue);
/* Behind all others. False: `max` wait already. After it look for a place once more, and call
 * wait_queue_wake where there is one: it may have become free in between (wait_queue.c). */
bool wait_queue_join(struct wait_queue *queue, struct waiter *waiter, unsigned max);
/* A woken waiter found no place: to where it was, before all that came later. Look again as after
 * wait_queue_join. */
void wait_queue_back(struct wait_queue *queue, struct waiter *waiter);
/* A place may be free: wakes the oldest. After the place was given back. */
void wait_queue_wake(struct wait_queue *queue);
/* It waits no more. False: it was woken already, and its message is on the way and owns it. Who
 * gives up then calls wait_queue_done, and wait_queue_wake to pass on what it was woken for. */
bool wait_queue_leave(struct wait_queue *queue, struct waiter *waiter);
/* A woken waiter is done, with a place or without. */
void wait_queue_done(struct wait_queue *queue, struct waiter *waiter);

#endif
