/* Owns the lines between the threads that produce and the one that takes them. Dmitry Vyukov's
 * bounded queue: each slot carries whose turn it is, so a producer pays one compare-and-swap and
 * never waits. The consumer sleeps on a futex; only the first line after a quiet moment pays a
 * wake-up. A slot's memory is touched with its first line: most rings see few. */
#include "libcommon/log_ring.h"

#include "libcommon/mem.h"

#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LINGER_NS 2000000 /* after a wake-up: lines of a burst are taken together */

struct log_ring {
    struct log_slot *slots;
    size_t count;
    _Alignas(64) _Atomic uint64_t tail; /* producers */
    _Alignas(64) uint64_t head;         /* the consumer */
    uint64_t reported;
    _Alignas(64) _Atomic uint64_t dropped;
    _Atomic uint32_t asleep; /* futex */
    _Atomic bool running;
    _Atomic bool stopping;
    _Atomic bool called; /* log_ring_wake */
    struct log_ring_sink sink;
    const char *name;
    pthread_t thread;
};

struct log_ring *log_ring_new(const char *name, size_t slots, const struct log_ring_sink *sink)
{
    struct log_ring *ring = aligned_alloc(64, sizeof(*ring));

    if (ring == NULL)
        abort();
    memset(ring, 0, sizeof(*ring));
    ring->name = name;
    ring->sink = *sink;
    ring->count = slots;
    ring->slots = mem_array(slots, sizeof(*ring->slots));
    return ring;
}

/* Of the slot at a position, before it is written: the position of the round's first slot, so that
 * a ring of zeroes is an empty one. */
static uint64_t turn_at(const struct log_ring *ring, uint64_t position)
{
    return position - position % ring->count;
}

void log_ring_free(struct log_ring **ring)
{
    if (*ring == NULL)
        return;
    log_ring_stop(*ring);
    free((*ring)->slots);
    free(*ring);
    *ring = NULL;
}

enum log_ring_claim log_ring_claim(struct log_ring *ring, struct log_slot **out)
{
    if (ring == NULL || !atomic_load_explicit(&ring->running, memory_order_acquire))
        return LOG_RING_STOPPED;
    uint64_t at = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    for (;;) {
        struct log_slot *slot = &ring->slots[at % ring->count];
        int64_t ahead =
            (int64_t)(atomic_load_explicit(&slot->turn, memory_order_acquire) - turn_at(ring, at));
        if (ahead < 0) {
            atomic_fetch_add_explicit(&ring->dropped, 1, memory_order_relaxed);
            return LOG_RING_FULL;
        }
        if (ahead == 0 &&
            atomic_compare_exchange_weak_explicit(&ring->tail, &at, at + 1, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            slot->filled = turn_at(ring, at) + 1;
            *out = slot;
            return LOG_RING_CLAIMED;
        }
        if (ahead > 0)
            at = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    }
}

static void rouse(struct log_ring *ring)
{
    if (atomic_exchange(&ring->asleep, 0) != 0)
        syscall(SYS_futex, &ring->asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void log_ring_publish(struct log_ring *ring, struct log_slot *slot)
{
    /* Sequentially consistent with the consumer's `asleep`: either it sees this line or we see it
     * asleep. */
    atomic_store(&slot->turn, slot->filled);
    if (atomic_load(&ring->asleep) != 0)
        rouse(ring);
}

void log_ring_wake(struct log_ring *ring)
{
    atomic_store(&ring->called, true);
    rouse(ring);
}

bool log_ring_pressed(const struct log_ring *ring)
{
    return atomic_load_explicit(&ring->stopping, memory_order_relaxed) ||
           atomic_load_explicit(&ring->called, memory_order_relaxed);
}

static bool take_line(struct log_ring *ring)
{
    struct log_slot *slot = &ring->slots[ring->head % ring->count];
    uint64_t turn = turn_at(ring, ring->head);

    if (atomic_load(&slot->turn) != turn + 1)
        return false;
    ring->sink.line(ring->sink.ctx, slot->data, slot->len);
    atomic_store_explicit(&slot->turn, turn + ring->count, memory_order_release);
    ring->head++;
    return true;
}

static void drain(struct log_ring *ring)
{
    atomic_store(&ring->called, false);
    while (take_line(ring))
        ;
    uint64_t now = atomic_load_explicit(&ring->dropped, memory_order_relaxed);
    uint64_t dropped = now - ring->reported;
    ring->reported = now;
    ring->sink.flush(ring->sink.ctx, dropped);
}

static bool quiet(const struct log_ring *ring)
{
    return atomic_load(&ring->slots[ring->head % ring->count].turn) !=
               turn_at(ring, ring->head) + 1 &&
           !atomic_load(&ring->stopping) && !atomic_load(&ring->called);
}

static void *consume(void *arg)
{
    static const struct timespec linger = {.tv_nsec = LINGER_NS};
    struct log_ring *ring = arg;

    pthread_setname_np(pthread_self(), ring->name);
    while (!atomic_load(&ring->stopping)) {
        drain(ring);
        nanosleep(&linger, NULL);
        atomic_store(&ring->asleep, 1);
        if (!quiet(ring))
            atomic_store(&ring->asleep, 0);
        else
            syscall(SYS_futex, &ring->asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
    }
    drain(ring);
    return NULL;
}

int log_ring_start(struct log_ring *ring, struct err *err)
{
    if (atomic_load(&ring->running))
        return 0;
    atomic_store(&ring->stopping, false);
    int status = pthread_create(&ring->thread, NULL, consume, ring);
    if (status != 0)
        return err_set(err, "cannot start the thread %s: %s", ring->name, strerror(status));
    atomic_store_explicit(&ring->running, true, memory_order_release);
    return 0;
}

void log_ring_stop(struct log_ring *ring)
{
    if (!atomic_load(&ring->running))
        return;
    atomic_store(&ring->running, false);
    atomic_store(&ring->stopping, true);
    rouse(ring);
    pthread_join(ring->thread, NULL);
}

uint64_t log_ring_dropped(const struct log_ring *ring)
{
    return atomic_load_explicit(&ring->dropped, memory_order_relaxed);
}
