/* The rate of one subscription in this process. Shared by the workers through one atomic: a lock or
 * a message for each request would cost more than the check. */
#include "services/proxy/gcra.h"

#define SECOND 1000000000LL

bool gcra_take(struct gcra *gcra, int64_t rate, int64_t burst, int64_t now_ns, int64_t *retry_ns)
{
    if (rate <= 0)
        return true;
    int64_t step = rate < SECOND ? SECOND / rate : 1;
    int64_t slots = burst > 1 ? burst : 1;
    int64_t most = INT64_MAX / 4 / step;
    int64_t tolerance = step * ((slots < most ? slots : most) - 1);
    int64_t seen = atomic_load_explicit(&gcra->arrival_ns, memory_order_relaxed);
    int64_t next;
    do {
        int64_t base = seen > now_ns ? seen : now_ns;
        if (base - now_ns > tolerance) {
            *retry_ns = base - now_ns - tolerance;
            return false;
        }
        next = base + step;
    } while (!atomic_compare_exchange_weak_explicit(&gcra->arrival_ns, &seen, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

bool gcra_full(const struct gcra *gcra, int64_t now_ns)
{
    return atomic_load_explicit(&gcra->arrival_ns, memory_order_relaxed) <= now_ns;
}
