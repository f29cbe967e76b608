/* What the wallet is asked to do with money and slots, and when it is refused. Every request is one
 * job of wallet_job, however often it is made: who asks again hears what has become of it. */
#ifndef PAYD_REFUNDS_H
#define PAYD_REFUNDS_H

#include "libcommon/problem.h"
#include "libcommon/proto/treasury.h"
#include "services/payd/payd.h"

#define REFUNDS_WINDOW_S (6 * 86400) /* after the quote's last second: the contract's rule */

struct refunds {
    struct pg_conn *conn; /* in no transaction */
    int64_t follower;
    const struct settings_target *target;
    int64_t now_s;
    bool wallet; /* whether there is one */
};

/* Each: PROBLEM_NONE with the job's state in *out (the caller's), or why it is refused, in words in
 * err. */
enum problem refunds_payment(const struct refunds *refunds, const struct treasury_refund *request,
                             json_t **out, struct err *err) MUST_USE;
enum problem refunds_transfer(const struct refunds *refunds, const struct treasury_refund *request,
                              json_t **out, struct err *err) MUST_USE;
enum problem refunds_withdraw(const struct refunds *refunds,
                              const struct treasury_withdraw *request, json_t **out,
                              struct err *err) MUST_USE;
enum problem refunds_revoke(const struct refunds *refunds, const struct treasury_revoke *request,
                            json_t **out, struct err *err) MUST_USE;

/* subd refuses the payment because the subscription is revoked: sends it back if it was never
 * activated. A job that failed is not begun again before ten minutes have passed. *added: now. */
enum problem refunds_refused(const struct refunds *refunds, const char *payment, bool *added,
                             struct err *err) MUST_USE;

/* Revocations that subd knows and the chain does not, a few at a time: *added of them now. */
int refunds_spread(const struct refunds *refunds, int64_t *added, struct err *err) MUST_USE;

/* What to send back: what was paid, or what the grant still holds if that is more; never more than
 * it was worth. `now` is taken a little early, so that a chain whose clock lags agrees. */
uint64_t refunds_amount(const struct quote_terms *terms, uint64_t paid_now, int64_t now_s);

#endif
