/* The slice rule. Pure. */
#include "services/subd/slice.h"

static const int64_t smallest[SUB_KINDS] = {
    [SUB_REQUESTS] = 1,
    [SUB_BYTES] = 64 * 1024,
    [SUB_MESSAGES] = 1,
    [SUB_COST] = 1,
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t slice_amount(enum sub_kind kind, int64_t want, int64_t left, int64_t others)
{
    if (want <= 0 || left <= 0)
        return 0;
    int64_t most = smaller(want, left);
    if (others <= 0)
        return most;
    int64_t share = left / (2 * others + 2);
    if (share < smallest[kind])
        share = smallest[kind];
    return smaller(most, share);
}
