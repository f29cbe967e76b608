/* No wake-up is lost. Who waits counts itself in `waiting` first and looks for a place after that;
 * who frees a place gives it back first and looks at `waiting` after that; all four are
 * sequentially consistent. So of the two at least one sees the other: either the waiter finds the
 * place and wakes the oldest (perhaps itself), or the one who frees it sees the waiter and wakes
 * the oldest. A woken waiter takes a place, or goes back and looks again, or leaves and passes the
 * wake-up on. */
#include "services/proxy/wait_queue.h"

void wait_queue_init(struct wait_queue *queue)
{
    pthread_mutex_init(&queue->lock, NULL);
    queue->first = queue->last = NULL;
    queue->arrivals = 0;
    atomic_init(&queue->waiting, 0);
}

void wait_queue_destroy(struct wait_queue *queue)
{
    pthread_mutex_destroy(&queue->lock);
}

unsigned wait_queue_length(const struct wait_queue *queue)
{
    return atomic_load(&queue->waiting);
}

static void link_after(struct wait_queue *queue, struct waiter *prev, struct waiter *waiter)
{
    waiter->prev = prev;
    waiter->next = prev ? prev->next : queue->first;
    *(prev ? &prev->next : &queue->first) = waiter;
    *(waiter->next ? &waiter->next->prev : &queue->last) = waiter;
    waiter->state = WAITER_LINKED;
}

static void unlink_waiter(struct wait_queue *queue, struct waiter *waiter)
{
    *(waiter->prev ? &waiter->prev->next : &queue->first) = waiter->next;
    *(waiter->next ? &waiter->next->prev : &queue->last) = waiter->prev;
}

bool wait_queue_join(struct wait_queue *queue, struct waiter *waiter, unsigned max)
{
    pthread_mutex_lock(&queue->lock);
    bool room = atomic_load(&queue->waiting) < max;
    if (room) {
        waiter->number = queue->arrivals++;
        link_after(queue, queue->last, waiter);
        atomic_fetch_add(&queue->waiting, 1);
    }
    pthread_mutex_unlock(&queue->lock);
    return room;
}

void wait_queue_back(struct wait_queue *queue, struct waiter *waiter)
{
    pthread_mutex_lock(&queue->lock);
    struct waiter *prev = NULL;
    for (struct waiter *at = queue->first; at && at->number < waiter->number; at = at->next)
        prev = at;
    link_after(queue, prev, waiter);
    pthread_mutex_unlock(&queue->lock);
    /* The counter has not moved: a full barrier in its place. */
    atomic_thread_fence(memory_order_seq_cst);
}

void wait_queue_wake(struct wait_queue *queue)
{
    if (atomic_load(&queue->waiting) == 0)
        return;
    pthread_mutex_lock(&queue->lock);
    struct waiter *oldest = queue->first;
    if (oldest) {
        unlink_waiter(queue, oldest);
        oldest->state = WAITER_WOKEN;
        oldest->wake(oldest);
    }
    pthread_mutex_unlock(&queue->lock);
}

bool wait_queue_leave(struct wait_queue *queue, struct waiter *waiter)
{
    pthread_mutex_lock(&queue->lock);
    bool linked = waiter->state == WAITER_LINKED;
    if (linked) {
        unlink_waiter(queue, waiter);
        atomic_fetch_sub(&queue->waiting, 1);
    }
    pthread_mutex_unlock(&queue->lock);
    return linked;
}

void wait_queue_done(struct wait_queue *queue, struct waiter *waiter)
{
    (void)waiter;
    atomic_fetch_sub(&queue->waiting, 1);
}
