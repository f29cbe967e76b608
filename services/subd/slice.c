/* The slice rule. Pure. */
#include "services/subd/slice.h"

static const int64_t smallest[SUB_KINDS] = {
    [SUB_REQUESTS] = 1,
    [SUB_BYTES] = 64 * 1024,
    [SUB_MESSAGES] = 1,
    [SUB_COST] = 1,
};

/* What an asker gets at once although it is a large part of what is left. */
static const int64_t enough[SUB_KINDS] = {
    [SUB_REQUESTS] = 10,
    [SUB_BYTES] = 4 << 20,
    [SUB_MESSAGES] = 10,
    [SUB_COST] = 1000,
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
    int64_t share = others > 0 ? left / (2 * others + 2) : left / 4;
    int64_t least = others > 0 ? smallest[kind] : enough[kind];
    if (share < least)
        share = least;
    return smaller(most, share);
}
