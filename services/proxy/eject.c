/* The window restarts with the first failure after it is over: a sliding one would need more than
 * one word, and catches no other backend. */
#include "services/proxy/eject.h"

#define COUNT_BITS 20
#define COUNT_MAX  ((1ULL << COUNT_BITS) - 1)
#define TIME_MASK  ((1ULL << (64 - COUNT_BITS)) - 1)
#define TIMES_MAX  10 /* the time grows to ten times rules->eject */

bool eject_active(const struct eject *eject, int64_t now_ms)
{
    return atomic_load_explicit(&eject->until_ms, memory_order_relaxed) > now_ms;
}

bool eject_failed(struct eject *eject, const struct passive_config *rules, int64_t now_ms)
{
    uint64_t word = atomic_load_explicit(&eject->window, memory_order_relaxed);
    uint64_t now = (uint64_t)now_ms & TIME_MASK;
    uint64_t start, count;
    if (rules->failures == 0)
        return false;
    do {
        start = word >> COUNT_BITS;
        count = word & COUNT_MAX;
        if (count == 0 || now - start >= (uint64_t)rules->window) {
            start = now;
            count = 0;
        }
        if (count < COUNT_MAX)
            count++;
    } while (!atomic_compare_exchange_weak_explicit(&eject->window, &word,
                                                    start << COUNT_BITS | count,
                                                    memory_order_relaxed, memory_order_relaxed));
    return count >= (uint64_t)rules->failures;
}

int64_t eject_start(struct eject *eject, const struct passive_config *rules, int64_t now_ms,
                    uint64_t random)
{
    unsigned times = atomic_load_explicit(&eject->times, memory_order_relaxed);
    int64_t until = atomic_load_explicit(&eject->until_ms, memory_order_relaxed);
    int64_t good = now_ms > until ? (now_ms - until) / rules->eject : 0;
    times = good < times ? times - (unsigned)good : 0;
    if (times < TIMES_MAX)
        times++;
    int64_t length = rules->eject * times;
    length += (int64_t)(random % (uint64_t)(length / 4 + 1));
    atomic_store_explicit(&eject->times, times, memory_order_relaxed);
    atomic_store_explicit(&eject->window, 0, memory_order_relaxed);
    atomic_store_explicit(&eject->until_ms, now_ms + length, memory_order_relaxed);
    return now_ms + length;
}

bool eject_allowed(const struct passive_config *rules, unsigned count, unsigned out)
{
    return ((int64_t)out + 1) * 100 <= rules->max_ejected * count;
}
