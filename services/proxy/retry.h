/* Whether a request may be tried again, and when. Never after a byte of an answer went to the
 * client. A connection that could not be made is passed over to another backend at once; anything
 * else is repeated only where the method is idempotent (or not a byte was sent), the body is none
 * or kept whole, attempts are left, and the pool's budget allows; after a jittered, growing wait,
 * and at another backend where one is fit. A status (502, 503, 504) is repeated only at another
 * backend, or after the origin's own Retry-After if that is within retry.max. One repeat is free
 * where a kept connection was closed as the request went out; with one attempt there is none. */
#ifndef PROXY_RETRY_H
#define PROXY_RETRY_H

#include "services/proxy/balance.h"
#include "services/proxy/retry_budget.h"

struct exchange;

enum retry_reason {
    RETRY_REUSED,  /* a kept connection was closed just then: nobody's failure */
    RETRY_CONNECT, /* no connection; nothing was sent */
    RETRY_BROKEN,  /* closed, reset or malformed before an answer */
    RETRY_STATUS,
    RETRY_REASONS
};

/* A member of the exchange. */
struct retry_state {
    struct backend *tried[BALANCE_TRIED_MAX];
    unsigned tried_count;
    unsigned repeats;   /* attempts that may have reached an origin, but the first */
    unsigned failovers; /* connections that could not be made */
    int64_t delay_ms;   /* before the next attempt; balance waits for it */
};

const char *retry_reason_name(enum retry_reason reason);
/* Its method and the configuration allow that what an origin may have seen is sent again. */
bool retry_may_repeat(const struct exchange *exchange);
/* Called once when a request begins: it earns a share of a retry. */
void retry_begin(struct exchange *exchange);
/* True: the exchange goes on with exchange_again. `after_s` is the origin's Retry-After, -1 where
 * it gave none. */
bool retry_plan(struct exchange *exchange, enum retry_reason reason, int64_t after_s);
/* The wait before repeat number `repeat` (from 0): between half and all of base * 2^repeat, at most
 * max. */
int64_t retry_delay_ms(const struct retry_config *rules, unsigned repeat, uint64_t random);
/* Seconds of a Retry-After in its numeric form; -1 for anything else. */
int64_t retry_after_s(h2o_iovec_t value);

#endif
