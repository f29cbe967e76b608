/* Hierarchical wheel: 256 slots of 4 ms, of 1 s and of 262 s; what lies beyond waits in the last
 * slot of the top level and is sorted in again when that comes up. */
#include "services/proxy/timer.h"

#include <string.h>

void timer_wheel_init(struct timer_wheel *wheel, int64_t now_ms)
{
    memset(wheel, 0, sizeof(*wheel));
    wheel->tick = now_ms / TIMER_TICK_MS;
}

void timer_unlink(struct timer_wheel *wheel, struct timer *timer)
{
    if (!timer->link)
        return;
    *timer->link = timer->next;
    if (timer->next)
        timer->next->link = timer->link;
    timer->link = NULL;
    wheel->count--;
}

static void link_into(struct timer_wheel *wheel, struct timer *timer, struct timer **slot)
{
    timer->next = *slot;
    timer->link = slot;
    if (timer->next)
        timer->next->link = &timer->next;
    *slot = timer;
    wheel->count++;
}

static struct timer **slot_of(struct timer_wheel *wheel, int64_t tick)
{
    int64_t delta = tick - wheel->tick;
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        if (delta < TIMER_SLOTS)
            return &wheel->slots[level][tick % TIMER_SLOTS];
        if (level == TIMER_LEVELS - 1)
            break;
        int64_t base = wheel->tick;
        for (unsigned i = 0; i <= level; i++)
            base /= TIMER_SLOTS;
        tick /= TIMER_SLOTS;
        delta = tick - base;
    }
    int64_t top = wheel->tick / TIMER_SLOTS / TIMER_SLOTS;
    return &wheel->slots[TIMER_LEVELS - 1][(top + TIMER_SLOTS - 1) % TIMER_SLOTS];
}

static void insert(struct timer_wheel *wheel, struct timer *timer)
{
    int64_t tick = (timer->due_ms + TIMER_TICK_MS - 1) / TIMER_TICK_MS;
    if (tick <= wheel->tick)
        tick = wheel->tick + 1;
    timer->slot_ms = tick * TIMER_TICK_MS;
    link_into(wheel, timer, slot_of(wheel, tick));
}

void timer_set(struct timer_wheel *wheel, struct timer *timer, int64_t due_ms)
{
    timer->due_ms = due_ms;
    if (timer->link && timer->slot_ms <= due_ms)
        return;
    timer_unlink(wheel, timer);
    insert(wheel, timer);
}

void timer_clear(struct timer *timer)
{
    timer->due_ms = TIMER_NEVER;
}

static void run_slot(struct timer_wheel *wheel, struct timer **slot, int64_t now_ms)
{
    /* Detached first: what fires may set timers into this very slot. */
    wheel->running = *slot;
    *slot = NULL;
    if (wheel->running)
        wheel->running->link = &wheel->running;
    while (wheel->running) {
        struct timer *timer = wheel->running;
        timer_unlink(wheel, timer);
        if (timer->due_ms == TIMER_NEVER)
            continue;
        if (timer->due_ms > now_ms)
            insert(wheel, timer);
        else
            timer->fire(timer);
    }
}

static void cascade(struct timer_wheel *wheel, int64_t now_ms)
{
    int64_t tick = wheel->tick;
    for (unsigned level = 1; level < TIMER_LEVELS && tick % TIMER_SLOTS == 0; level++) {
        tick /= TIMER_SLOTS;
        run_slot(wheel, &wheel->slots[level][tick % TIMER_SLOTS], now_ms);
    }
}

void timer_run(struct timer_wheel *wheel, int64_t now_ms)
{
    int64_t until = now_ms / TIMER_TICK_MS;
    if (wheel->count == 0 && until > wheel->tick)
        wheel->tick = until;
    while (wheel->tick < until) {
        wheel->tick++;
        cascade(wheel, now_ms);
        run_slot(wheel, &wheel->slots[0][wheel->tick % TIMER_SLOTS], now_ms);
    }
}

int32_t timer_wait_ms(const struct timer_wheel *wheel, int64_t now_ms, int32_t max_ms)
{
    if (wheel->count == 0)
        return max_ms;
    for (int64_t i = 1; i <= TIMER_SLOTS; i++) {
        int64_t tick = wheel->tick + i;
        /* The end of a turn is a stop of its own: higher levels are sorted in there. */
        if (!wheel->slots[0][tick % TIMER_SLOTS] && tick % TIMER_SLOTS != 0)
            continue;
        int64_t wait = tick * TIMER_TICK_MS - now_ms;
        if (wait < 0)
            wait = 0;
        return wait < max_ms ? (int32_t)wait : max_ms;
    }
    return max_ms;
}
