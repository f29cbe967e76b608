/* Arithmetic of periods. Pure. */
#include "services/subd/period.h"

#define DAY 86400

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

struct period period_at(int64_t start, int64_t expiry, int64_t seconds, int64_t now)
{
    if (seconds < 1)
        seconds = 1;
    int64_t t = smaller(now, expiry - 1);
    int64_t k = t > start ? (t - start) / seconds : 0;
    struct period out = {.start = start + k * seconds};
    out.end = smaller(out.start + seconds, expiry);
    return out;
}

int64_t period_midnight(int64_t now)
{
    return (now / DAY + 1) * DAY;
}

int64_t period_lease_ms(const struct period *period, int64_t expiry, int64_t now_ms, int64_t max_ms)
{
    int64_t end = smaller(smaller(period->end, expiry), period_midnight(now_ms / 1000));
    int64_t left = smaller(end * 1000 - now_ms, max_ms);
    return left > 0 ? left : 0;
}
