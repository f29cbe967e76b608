/* What every instance reads out of PostgreSQL to answer requests: never the leader's memory. */
#ifndef PAYD_QUERY_H
#define PAYD_QUERY_H

#include "libcommon/json.h"
#include "libcommon/pg.h"
#include "libcommon/proto/payment.h"
#include "services/payd/ledger.h"
#include "services/payd/receipt.h"

struct query_status {
    int64_t cursor, head, confirmed;
    int64_t polled_ms;    /* since the last successful poll; INT64_MAX: there was none */
    int64_t led_ms;       /* since the leader's last sign of life */
    int64_t polled_at;    /* Unix seconds of it; 0: there was none */
    int64_t disagreed_ms; /* for so long endpoints have contradicted each other; 0: they do not */
};

/* NULL, or why the chain cannot be relied on now: nothing that is sold could be confirmed. */
const char *query_unwell(const struct query_status *status, int64_t stale_after_ms);

int query_status(struct pg_conn *conn, int64_t follower, struct query_status *out,
                 struct err *err) MUST_USE;

/* Fills slot, pending, revoked and signer. */
int query_slot(struct pg_conn *conn, int64_t follower, const struct payment_slot_request *request,
               struct payment_slot *out, struct err *err) MUST_USE;

/* The public form of a payment; *out NULL where there is none. The caller's. */
int query_payment(struct pg_conn *conn, const char *id, int64_t required, json_t **out,
                  struct err *err) MUST_USE;

/* What a receipt of this payment says, its state now, and what was sold by name, as far as that is
 * known. *found is false where there is no such payment. */
struct query_receipt {
    enum ledger_state state;
    struct receipt receipt;
    json_t *sold; /* {service, tier, tier_version}, each may be null; the caller's */
};

int query_receipt(struct pg_conn *conn, int64_t follower, const char *id, struct query_receipt *out,
                  bool *found, struct err *err) MUST_USE;

/* Rows of (state, count) without activated ones. The caller's to PQclear. */
int query_states(struct pg_conn *conn, int64_t follower, PGresult **out, struct err *err) MUST_USE;
/* The same of transfers that paid nothing, all states. */
int query_transfer_states(struct pg_conn *conn, int64_t follower, PGresult **out,
                          struct err *err) MUST_USE;
/* Hints that subd has not answered, and the age of the oldest in seconds. */
int query_outbox(struct pg_conn *conn, int64_t follower, int64_t *count, int64_t *age_s,
                 struct err *err) MUST_USE;
/* The same of events that the stream does not have yet. */
int query_events(struct pg_conn *conn, int64_t follower, int64_t *count, int64_t *age_s,
                 struct err *err) MUST_USE;

#endif
