/* What is told to anyone who listens: a row written in the transaction that made it true, published
 * as CloudEvents to JetStream by the leader (herald.h), at least once and with the same id each
 * time. Money never waits for it: what nobody takes is dropped at a bound, with an alert. */
#ifndef PAYD_EVENTS_H
#define PAYD_EVENTS_H

#include "libcommon/json.h"
#include "libcommon/pg.h"

#define EVENTS_STREAM        "OCTROI_EVENTS"
#define EVENTS_SUBJECT       "octroi.v1.events."
#define EVENTS_DATA_MAX      (16 * 1024)
#define EVENTS_REFUND_FAILED "payment.refund-failed"
#define EVENTS_DEGRADED      "chain.degraded"
#define EVENTS_RECOVERED     "chain.recovered"
#define EVENTS_UNMATCHED     "transfer.unmatched"

/* Within the caller's transaction. `type` is "<kind>.<what>" in lower-case letters and hyphens, and
 * names the NATS subject; `subject` is what the event is about: a payment's or transfer's id, or
 * for the chain "eip155:<chain id>". `data` is an object of at most EVENTS_DATA_MAX bytes, taken
 * whatever happens; NULL is an empty one, so that words of a node that are no UTF-8 (json_pack
 * gives NULL) fail no transaction. Moves of payments put theirs themselves (move.c). */
int event_put(struct pg_conn *conn, int64_t follower, const char *type, const char *subject,
              json_t *data, struct err *err) MUST_USE;

/* The CloudEvents 1.0 form, JSON; the caller's. `data` is text of an object, `at` RFC 3339. */
int event_encode(const char *id, const char *source, const char *type, const char *subject,
                 const char *at, const char *data, char **out, struct err *err) MUST_USE;

#endif
