/* A wheel of deadlines on the monotonic clock, one a worker. It is lazy: moving a deadline further
 * away, or clearing it, is one store; the entry is looked at again when its old slot comes up. A
 * request thus arms and disarms its timeouts for almost nothing. */
#ifndef PROXY_TIMER_H
#define PROXY_TIMER_H

#include <stddef.h>
#include <stdint.h>

#define TIMER_TICK_MS 4
#define TIMER_SLOTS   256
#define TIMER_LEVELS  3
#define TIMER_NEVER   INT64_MAX

struct timer {
    struct timer *next;
    struct timer **link; /* NULL: not in the wheel */
    int64_t slot_ms;     /* when it is looked at */
    int64_t due_ms;      /* when it fires; TIMER_NEVER: it does not */
    void (*fire)(struct timer *timer);
};

struct timer_wheel {
    int64_t tick; /* all slots up to this one have run */
    size_t count;
    struct timer *running; /* rest of the slot that is being run */
    struct timer *slots[TIMER_LEVELS][TIMER_SLOTS];
};

void timer_wheel_init(struct timer_wheel *wheel, int64_t now_ms);
void timer_set(struct timer_wheel *wheel, struct timer *timer, int64_t due_ms);
void timer_clear(struct timer *timer);
/* Before its memory goes. */
void timer_unlink(struct timer_wheel *wheel, struct timer *timer);
/* Runs what is due. */
void timer_run(struct timer_wheel *wheel, int64_t now_ms);
/* How long the loop may sleep: at most `max_ms`. */
int32_t timer_wait_ms(const struct timer_wheel *wheel, int64_t now_ms, int32_t max_ms);

#endif
