/* Halves when refused and grows again by an eighth, but not up to a size that was refused lately:
 * that would be refused again. After a while it is tried, because the bound may have been one of a
 * crowded range. */
#include "services/payd/span.h"

#define FORGET_AFTER 64 /* answers */

int64_t span_most(const struct span *span)
{
    return span->most == 0 ? INT64_MAX : span->most;
}

void span_answered(struct span *span, int64_t blocks)
{
    if (span->most == 0)
        return;
    span->since++;
    if (blocks < span->most)
        return;
    int64_t more = span->most + span->most / 8 + 1;
    if (more < span->refused || span->since >= FORGET_AFTER)
        span->most = more;
    /* Far beyond what was refused it was a passing bound. */
    if (span->most / 8 > span->refused)
        span->most = 0;
}

void span_refused(struct span *span, int64_t blocks)
{
    span->refused = blocks;
    span->since = 0;
    span->most = blocks > 1 ? blocks / 2 : 1;
}
