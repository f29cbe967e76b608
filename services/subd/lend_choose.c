/* Judges an ask: is the subscription active, is anything left of what is wanted, how much of it.
 * Pure. */
#include "services/subd/lend_choose.h"

#include "libcommon/clock.h"
#include "services/subd/slice.h"

#include <stdio.h>
#include <string.h>

#define RETURNING_S 1 /* what others hold may come back with their next batch */

static bool refuse(struct lease_refused *out, const char *sub, enum lease_refusal reason,
                   enum sub_kind kind, int64_t retry_after)
{
    memset(out, 0, sizeof(*out));
    snprintf(out->sub, sizeof(out->sub), "%s", sub);
    out->reason = reason;
    out->kind = kind;
    out->retry_after = retry_after;
    return false;
}

static int64_t seconds_to(int64_t at, int64_t now_ms)
{
    int64_t left = (at * 1000 - now_ms + 999) / 1000;
    return left > 1 ? left : 1;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What the period, where it has a limit, and the day leave. */
static int64_t left_of(const struct sub_limits *limits, const struct lend_quota *quota,
                       enum sub_kind kind)
{
    int64_t left = limits->quota[kind] ? limits->quota[kind] - quota->granted[kind] : INT64_MAX;
    if (kind == SUB_REQUESTS && limits->requests_per_day)
        left = smaller(left, limits->requests_per_day - quota->day_granted);
    return left;
}

/* Where both the period and the day are used up, the later counts. */
static int64_t wait_for(const struct sub_record *pub, const struct lend_quota *quota,
                        enum sub_kind kind, int64_t now_ms)
{
    const struct sub_limits *limits = &pub->limits;
    int64_t period = 0, day = 0;
    if (limits->quota[kind] && limits->quota[kind] <= quota->granted[kind])
        period = quota->returning[kind] ? RETURNING_S : seconds_to(pub->period_end, now_ms);
    if (kind == SUB_REQUESTS && limits->requests_per_day &&
        limits->requests_per_day <= quota->day_granted)
        day =
            quota->day_returning ? RETURNING_S : seconds_to(period_midnight(now_ms / 1000), now_ms);
    return period > day ? period : day;
}

bool lend_choose(const struct lease_ask *ask, const struct record *record,
                 const struct lend_quota *quota, int64_t now_ms, int64_t lease_ms,
                 struct lease_grant *grant, struct lease_refused *refused)
{
    const struct sub_record *pub = &record->pub;
    struct period period = {.start = pub->period_start, .end = pub->period_end};
    int64_t ttl = period_lease_ms(&period, pub->expiry, now_ms, lease_ms);
    if (pub->state != SUB_ACTIVE || ttl == 0)
        return refuse(refused, ask->sub, LEASE_PAYMENT_REQUIRED, SUB_REQUESTS, 0);
    memset(grant, 0, sizeof(*grant));
    for (int i = 0; i < SUB_KINDS; i++) {
        enum sub_kind kind = (enum sub_kind)i;
        if (!sub_limited(&pub->limits, kind)) {
            grant->amount[kind] = LEASE_UNLIMITED;
            continue;
        }
        grant->amount[kind] =
            slice_amount(kind, ask->want[kind], left_of(&pub->limits, quota, kind), quota->others);
        if (ask->want[kind] > 0 && grant->amount[kind] == 0)
            return refuse(refused, ask->sub, LEASE_QUOTA_EXCEEDED, kind,
                          wait_for(pub, quota, kind, now_ms));
    }
    snprintf(grant->sub, sizeof(grant->sub), "%s", ask->sub);
    grant->period = period.start;
    grant->ttl_ms = ttl;
    clock_day(now_ms / 1000, grant->day);
    return true;
}
