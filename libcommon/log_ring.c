/* Owns the lines between the threads that log and the one that writes. Dmitry Vyukov's bounded
 * queue: each slot carries the position whose turn it is, so a producer pays one compare-and-swap
 * and never waits. The writer sleeps on a futex; only the first line after a quiet moment pays a
 * wake-up. */
#include "libcommon/log_ring.h"

#include "libcommon/mem.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLOTS     2048
#define LINGER_NS 2000000 /* after a wake-up: lines of a burst are written together */
#define STUCK_MS  1000

static struct {
    struct log_slot *slots;
    _Alignas(64) _Atomic uint64_t tail; /* producers */
    _Alignas(64) uint64_t head;         /* the writer */
    _Atomic uint64_t dropped;
    _Atomic uint32_t asleep; /* futex */
    _Atomic bool running;
    _Atomic bool stopping;
    uint64_t reported;
    void (*on_dropped)(uint64_t count);
    pthread_t thread;
    char out[PIPE_BUF]; /* one write: a pipe that polls writable takes this much at once */
    size_t out_len;
} ring;

enum log_ring_claim log_ring_claim(struct log_slot **out)
{
    if (!atomic_load_explicit(&ring.running, memory_order_acquire))
        return LOG_RING_STOPPED;
    uint64_t at = atomic_load_explicit(&ring.tail, memory_order_relaxed);
    for (;;) {
        struct log_slot *slot = &ring.slots[at % SLOTS];
        int64_t ahead = (int64_t)(atomic_load_explicit(&slot->turn, memory_order_acquire) - at);
        if (ahead < 0) {
            atomic_fetch_add_explicit(&ring.dropped, 1, memory_order_relaxed);
            return LOG_RING_FULL;
        }
        if (ahead == 0 &&
            atomic_compare_exchange_weak_explicit(&ring.tail, &at, at + 1, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            slot->position = at;
            *out = slot;
            return LOG_RING_CLAIMED;
        }
        if (ahead > 0)
            at = atomic_load_explicit(&ring.tail, memory_order_relaxed);
    }
}

static void wake(void)
{
    if (atomic_exchange(&ring.asleep, 0) != 0)
        syscall(SYS_futex, &ring.asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void log_ring_publish(struct log_slot *slot)
{
    /* Sequentially consistent with the writer's `asleep`: either it sees this line or we see it
     * asleep. */
    atomic_store(&slot->turn, slot->position + 1);
    if (atomic_load(&ring.asleep) != 0)
        wake();
}

/* Standard error takes bytes, or did not for so long that nobody may be there to read. */
static bool writable(void)
{
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};

    while (poll(&fd, 1, STUCK_MS) <= 0)
        if (atomic_load_explicit(&ring.stopping, memory_order_relaxed))
            return false;
    return true;
}

static void flush(void)
{
    size_t done = 0;

    while (done < ring.out_len && writable()) {
        ssize_t n = write(STDERR_FILENO, ring.out + done, ring.out_len - done);
        if (n <= 0 && errno != EINTR && errno != EAGAIN)
            break;
        done += n > 0 ? (size_t)n : 0;
    }
    ring.out_len = 0;
}

void log_ring_write(const char *data, size_t len)
{
    if (len > sizeof(ring.out) - ring.out_len)
        flush();
    memcpy(ring.out + ring.out_len, data, len);
    ring.out_len += len;
}

static void report(void)
{
    uint64_t now = atomic_load_explicit(&ring.dropped, memory_order_relaxed);

    if (now == ring.reported)
        return;
    uint64_t count = now - ring.reported;
    ring.reported = now;
    ring.on_dropped(count);
}

static bool take_line(void)
{
    struct log_slot *slot = &ring.slots[ring.head % SLOTS];

    if (atomic_load(&slot->turn) != ring.head + 1)
        return false;
    log_ring_write(slot->data, slot->len);
    atomic_store_explicit(&slot->turn, ring.head + SLOTS, memory_order_release);
    ring.head++;
    return true;
}

static void drain(void)
{
    while (take_line())
        ;
    report();
    flush();
}

static bool empty(void)
{
    return atomic_load(&ring.slots[ring.head % SLOTS].turn) != ring.head + 1;
}

static void *writer(void *arg)
{
    static const struct timespec linger = {.tv_nsec = LINGER_NS};

    (void)arg;
    while (!atomic_load(&ring.stopping)) {
        drain();
        nanosleep(&linger, NULL);
        atomic_store(&ring.asleep, 1);
        if (!empty() || atomic_load(&ring.stopping))
            atomic_store(&ring.asleep, 0);
        else
            syscall(SYS_futex, &ring.asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
    }
    drain();
    return NULL;
}

void log_ring_start(void (*dropped)(uint64_t count))
{
    if (atomic_load(&ring.running))
        return;
    if (ring.slots == NULL) {
        ring.slots = mem_array(SLOTS, sizeof(*ring.slots));
        for (uint64_t i = 0; i < SLOTS; i++)
            atomic_store_explicit(&ring.slots[i].turn, i, memory_order_relaxed);
    }
    ring.on_dropped = dropped;
    atomic_store(&ring.stopping, false);
    if (pthread_create(&ring.thread, NULL, writer, NULL) != 0)
        return; /* lines are written at once, as before */
    atomic_store_explicit(&ring.running, true, memory_order_release);
}

void log_ring_stop(void)
{
    if (!atomic_load(&ring.running))
        return;
    atomic_store(&ring.running, false);
    atomic_store(&ring.stopping, true);
    wake();
    pthread_join(ring.thread, NULL);
}

uint64_t log_ring_dropped(void)
{
    return atomic_load_explicit(&ring.dropped, memory_order_relaxed);
}
