/* Subscriptions as rows and as records; and the one way in which a row changes its state. */
#ifndef SUBD_RECORD_H
#define SUBD_RECORD_H

#include "libcommon/pg.h"
#include "libcommon/proto/quote.h"
#include "libcommon/proto/sub.h"
#include "services/subd/period.h"

struct record {
    struct sub_record pub; /* what the proxies see */
    int64_t period_seconds;
    char payment[67]; /* whose grant it is; "" where none */
};

/* The columns that record_read needs, for a SELECT. */
#define RECORD_COLUMNS                                                                             \
    "id, version, state, service, subscriber, tier, plan, start_at, expires_at, period_seconds, "  \
    "coalesce(payment_id, '') AS payment_id, rate, burst, requests, bytes, messages, cost, "       \
    "requests_per_day"

int record_read(const PGresult *result, int row, int64_t now, struct record *out,
                struct err *err) MUST_USE;

/* One subscription; *found false where there is none. `lock`: held to the end of the transaction.
 */
int record_get(struct pg_conn *conn, const char *id, bool lock, int64_t now, struct record *out,
               bool *found, struct err *err) MUST_USE;
/* The wallet's subscription to a service on this contract of this chain. */
int record_of_holder(struct pg_conn *conn, const struct quote_domain *domain,
                     const char *subscriber, const char *service, int64_t now, struct record *out,
                     bool *found, struct err *err) MUST_USE;
/* Whether it was bought on this contract of this chain: nothing else opens a door. */
bool record_bought_on(const struct record *record, const struct quote_domain *domain);
/* Records of the ids, in their order, SUB_UNKNOWN where there is none; `lock`: shared, so that
 * none changes before the transaction ends. *out is the caller's to free. */
int record_list(struct pg_conn *conn, const char *const *ids, size_t count, bool lock, int64_t now,
                struct record **out, struct err *err) MUST_USE;
/* Number of the last published change. */
int record_head(struct pg_conn *conn, int64_t *out, struct err *err) MUST_USE;

/* In a transaction that holds the row's lock: the new state, the next version, and the change for
 * the proxies. */
int record_move(struct pg_conn *conn, struct record *record, enum sub_state to,
                struct err *err) MUST_USE;

/* {"a","b"}: an array of texts without quotes or backslashes. The caller frees. */
char *record_array(const char *const *items, size_t count);

#endif
