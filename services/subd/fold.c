/* Records a payment at a revision and folds the subscription again. Everything happens under the
 * lock of the subscription's row; locks below it are taken in the order lease, quota. */
#include "services/subd/fold.h"

#include "libcommon/eth/hex.h"
#include "services/subd/carry.h"

#include <stdio.h>
#include <string.h>

static int copy_hex(char *out, size_t size, const PGresult *result, int row, const char *column,
                    struct err *err)
{
    uint8_t bytes[32];
    const char *text = pg_text(result, row, column);
    if (hex_decode(text, bytes, (size - 3) / 2))
        return err_set(err, "payment_v1.%s: not 0x and %zu hex digits", column, size - 3);
    hex_encode(bytes, (size - 3) / 2, out);
    return 0;
}

static int name_subscription(struct fold_payment *payment, struct err *err)
{
    struct quote_domain domain = {.chain_id = (uint64_t)payment->chain_id};
    uint8_t subscriber[20];
    struct word service_id;
    if (hex_decode(payment->contract, domain.contract, 20) ||
        hex_decode(payment->subscriber, subscriber, 20) ||
        hex_decode(payment->service_id, service_id.b, 32))
        return err_set(err, "payment %s: malformed address", payment->id);
    quote_subscription_id(&domain, subscriber, &service_id, payment->subscription);
    return 0;
}

int fold_read(const PGresult *result, int row, struct fold_payment *out, struct err *err)
{
    memset(out, 0, sizeof(*out));
    if (copy_hex(out->id, sizeof(out->id), result, row, "payment_id", err) ||
        copy_hex(out->contract, sizeof(out->contract), result, row, "contract", err) ||
        copy_hex(out->subscriber, sizeof(out->subscriber), result, row, "subscriber", err) ||
        copy_hex(out->service_id, sizeof(out->service_id), result, row, "service_id", err))
        return -1;
    const char *state = pg_text(result, row, "state");
    out->counts = strcmp(state, "confirmed") == 0 || strcmp(state, "activated") == 0;
    out->refunded = strcmp(state, "refunded") == 0;
    out->settled = strcmp(state, "seen") != 0 && strcmp(state, "confirming") != 0;
    out->revision = pg_int(result, row, "revision");
    out->chain_id = pg_int(result, row, "chain_id");
    out->plan = pg_int(result, row, "plan");
    out->seq = pg_int(result, row, "seq");
    out->start = pg_int(result, row, "start_at");
    out->expiry = pg_int(result, row, "expires_at");
    out->block = pg_int(result, row, "block_number");
    if (out->revision < 1 || out->chain_id < 1 || (out->counts && out->start >= out->expiry))
        return err_set(err, "payment %s: impossible revision, chain or times", out->id);
    return name_subscription(out, err);
}

static const struct pg_stmt service_stmt = {
    "fold_service", "SELECT name FROM quotes.service_v1 WHERE service_id = $1"};
static const struct pg_stmt create_stmt = {
    "fold_create",
    "INSERT INTO subscription (id, chain_id, contract, subscriber, service_id, service, state)"
    " VALUES ($1, $2, $3, $4, $5, $6, 'pending') ON CONFLICT (id) DO NOTHING"};
/* Who comes later has read the row later, so what stands in it is right whatever its revision: that
 * goes back where payd's tables were restored. What is still to be decided there waits for that. */
static const struct pg_stmt record_stmt = {
    "fold_record",
    "WITH old AS (SELECT revision FROM subscription_payment WHERE payment_id = $1)"
    " INSERT INTO subscription_payment AS s (payment_id, subscription, revision, counts, seq, plan,"
    " start_at, expires_at, block_number, refunded)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    " ON CONFLICT (payment_id) DO UPDATE SET revision = excluded.revision,"
    " counts = excluded.counts, refunded = excluded.refunded, block_number = "
    "excluded.block_number, applied_at = now()"
    " WHERE s.revision < excluded.revision OR ($11::boolean AND (s.revision > excluded.revision"
    " OR s.counts <> excluded.counts OR s.refunded <> excluded.refunded))"
    " RETURNING coalesce((SELECT revision FROM old), 0) > revision AS back"};
/* requests_per_day is read in a way that is right also before quoted has published that column. */
static const struct pg_stmt top_stmt = {
    "fold_top",
    "SELECT f.payment_id, f.seq, f.plan, f.start_at, f.expires_at, p.plan AS known, p.tier,"
    " p.period_seconds, p.rate, p.burst, p.requests, p.bytes, p.messages, p.cost, p.bandwidth,"
    " coalesce((to_jsonb(p) ->> 'requests_per_day')::bigint, 0) AS requests_per_day"
    " FROM subscription_payment f LEFT JOIN quotes.plan_v1 p ON p.plan = f.plan"
    " WHERE f.subscription = $1 AND f.counts AND f.seq > coalesce((SELECT max(r.seq)"
    " FROM subscription_payment r WHERE r.subscription = $1 AND r.refunded), -1)"
    " ORDER BY f.seq DESC, f.block_number DESC, f.payment_id LIMIT 1"};
static const struct pg_stmt grant_stmt = {
    "fold_grant",
    "UPDATE subscription SET payment_id = $2, seq = $3, tier = $4, plan = $5, start_at = $6,"
    " expires_at = $7, period_seconds = $8, rate = $9, burst = $10, requests = $11, bytes = $12,"
    " messages = $13, cost = $14, bandwidth = $15, requests_per_day = $16 WHERE id = $1"};
static const struct pg_stmt granted_stmt = {
    "fold_granted", "UPDATE subscription_payment SET granted = true WHERE payment_id = $1"};
static const struct pg_stmt was_granted_stmt = {
    "fold_was_granted", "SELECT granted FROM subscription_payment WHERE payment_id = $1"};
static const struct pg_stmt cleared_stmt = {
    "fold_cleared", "SELECT coalesce((SELECT refunded FROM subscription_payment"
                    " WHERE subscription = $1 AND seq < $2 AND (counts OR refunded)"
                    " ORDER BY seq DESC, refunded DESC LIMIT 1), false) AS cleared"};
/* The same, as payd has it now: its refund may not have been applied here yet. */
static const struct pg_stmt paid_back_stmt = {
    "fold_paid_back", "SELECT EXISTS (SELECT FROM payments.payment_v1 o JOIN payments.payment_v1 r"
                      " ON r.chain_id = o.chain_id AND r.contract = o.contract"
                      " AND r.subscriber = o.subscriber AND r.service_id = o.service_id"
                      " WHERE o.payment_id = $1 AND r.state = 'refunded' AND r.seq >= o.seq"
                      " AND r.seq < $2) AS cleared"};
static const struct pg_stmt ungrant_stmt = {
    "fold_ungrant", "UPDATE subscription SET payment_id = NULL, seq = 0 WHERE id = $1"};

/* What could not be read back would hold up every change after it. */
static bool fits(const char *text, size_t size)
{
    return text[0] != '\0' && strlen(text) < size;
}

/* The row, locked; made where this is the first payment. *found false: nothing was ever bought and
 * this payment neither counts nor cleared a grant. */
static int lock_subscription(struct pg_conn *conn, const struct fold_payment *payment, int64_t now,
                             struct record *out, bool *found, struct err *err)
{
    if (record_get(conn, payment->subscription, true, now, out, found, err) || *found)
        return *found ? 0 : -1;
    if (!payment->counts && !payment->refunded)
        return 0;
    AUTO_PG_RESULT PGresult *service = NULL;
    if (pg_run(conn, &service_stmt, PG_PARAMS(payment->service_id), &service, err))
        return -1;
    if (PQntuples(service) == 0 && payment->refunded)
        return 0; /* sent back because we do not sell it */
    if (PQntuples(service) == 0)
        return err_set(err, "quotes.service_v1 has no service %s", payment->service_id);
    if (!fits(pg_text(service, 0, "name"), sizeof(out->pub.service)))
        return err_set(err, "the name of service %s does not fit", payment->service_id);
    if (pg_run(conn, &create_stmt,
               PG_PARAMS(payment->subscription, pg_num(payment->chain_id).s, payment->contract,
                         payment->subscriber, payment->service_id, pg_text(service, 0, "name")),
               NULL, err))
        return -1;
    return record_get(conn, payment->subscription, true, now, out, found, err);
}

static int record_payment(struct pg_conn *conn, const struct fold_payment *payment, bool *newer,
                          bool *back, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    if (pg_run(conn, &record_stmt,
               PG_PARAMS(payment->id, payment->subscription, pg_num(payment->revision).s,
                         payment->counts ? "true" : "false", pg_num(payment->seq).s,
                         pg_num(payment->plan).s, pg_num(payment->start).s,
                         pg_num(payment->expiry).s, pg_num(payment->block).s,
                         payment->refunded ? "true" : "false", payment->settled ? "true" : "false"),
               &result, err))
        return -1;
    *newer = PQntuples(result) == 1;
    *back = *newer && pg_bool(result, 0, "back");
    return 0;
}

static int write_grant(struct pg_conn *conn, const char *id, const PGresult *top, struct err *err)
{
    static const char *const columns[] = {"payment_id",     "seq",       "tier",
                                          "plan",           "start_at",  "expires_at",
                                          "period_seconds", "rate",      "burst",
                                          "requests",       "bytes",     "messages",
                                          "cost",           "bandwidth", "requests_per_day"};
    const char *values[ARRAY_LEN(columns) + 1] = {id};
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        values[i + 1] = pg_text(top, 0, columns[i]);
    if (pg_run(conn, &grant_stmt, values, ARRAY_LEN(values), NULL, err))
        return -1;
    return pg_run(conn, &granted_stmt, PG_PARAMS(pg_text(top, 0, "payment_id")), NULL, err);
}

/* What was paid back is gone with what was used of it: who buys again pays the whole price. */
static int judge_cleared(struct pg_conn *conn, const struct record *old, const PGresult *top,
                         bool *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    bool held = old->payment[0] != '\0';
    if (pg_run(conn, held ? &paid_back_stmt : &cleared_stmt,
               PG_PARAMS(held ? old->payment : old->pub.id, pg_text(top, 0, "seq")), &row, err))
        return -1;
    *out = pg_bool(row, 0, "cleared");
    return 0;
}

/* An upgrade that begins inside the old grant takes along what was used of it. */
static int carry_over(struct pg_conn *conn, const struct record *old, const PGresult *top,
                      int64_t now, struct err *err)
{
    int64_t start = pg_int(top, 0, "start_at"), expiry = pg_int(top, 0, "expires_at");
    bool cleared;
    if (judge_cleared(conn, old, top, &cleared, err))
        return -1;
    if (cleared || old->pub.expiry <= start)
        return 0;
    struct period from = period_at(old->pub.start, old->pub.expiry, old->period_seconds, now);
    struct period to = period_at(start, expiry, pg_int(top, 0, "period_seconds"), now);
    return from.start == to.start ? 0 : carry_quota(conn, old->pub.id, from.start, to.start, err);
}

static bool same_grant(const struct record *old, const PGresult *top)
{
    return strcmp(old->payment, pg_text(top, 0, "payment_id")) == 0;
}

static int move(struct pg_conn *conn, struct record *record, enum state_event event,
                enum sub_state to, struct fold_outcome *out, struct err *err)
{
    out->from = record->pub.state;
    out->to = to;
    out->event = event;
    if (record_move(conn, record, to, err))
        return -1;
    out->version = record->pub.version;
    out->result = FOLD_APPLIED;
    return 0;
}

static int fold_none(struct pg_conn *conn, struct record *record, struct fold_outcome *out,
                     struct err *err)
{
    enum sub_state to;
    if (pg_run(conn, &ungrant_stmt, PG_PARAMS(record->pub.id), NULL, err))
        return -1;
    if (state_transition(record->pub.state, STATE_UNPAID, &to))
        return 0;
    return move(conn, record, STATE_UNPAID, to, out, err);
}

static int fold_again(struct pg_conn *conn, struct record *record, int64_t now,
                      struct fold_outcome *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *top = NULL;
    if (pg_run(conn, &top_stmt, PG_PARAMS(record->pub.id), &top, err))
        return -1;
    if (PQntuples(top) == 0)
        return fold_none(conn, record, out, err);
    if (same_grant(record, top))
        return 0;
    if (pg_null(top, 0, "known"))
        return err_set(err, "quotes.plan_v1 has no plan %s", pg_text(top, 0, "plan"));
    if (!fits(pg_text(top, 0, "tier"), sizeof(record->pub.tier)) ||
        pg_int(top, 0, "period_seconds") < 1)
        return err_set(err, "plan %s has an impossible tier or period", pg_text(top, 0, "plan"));
    enum state_event event = pg_int(top, 0, "expires_at") > now ? STATE_PAID : STATE_LAPSED;
    enum sub_state to;
    if (state_transition(record->pub.state, event, &to)) {
        if (record->pub.state == SUB_REVOKED)
            out->result = FOLD_CLOSED;
        return 0;
    }
    if (carry_over(conn, record, top, now, err) || write_grant(conn, record->pub.id, top, err))
        return -1;
    return move(conn, record, event, to, out, err);
}

static int judge_refusal(struct pg_conn *conn, const struct record *record,
                         const struct fold_payment *payment, bool *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    if (record->pub.state != SUB_REVOKED || !payment->counts)
        return 0;
    if (pg_run(conn, &was_granted_stmt, PG_PARAMS(payment->id), &row, err))
        return -1;
    *out = PQntuples(row) == 1 && !pg_bool(row, 0, "granted");
    return 0;
}

int fold_apply(struct pg_conn *conn, const struct fold_payment *payment, int64_t now,
               struct fold_outcome *out, struct err *err)
{
    struct record record;
    bool found, newer;
    memset(out, 0, sizeof(*out));
    out->result = FOLD_NOTED;
    if (lock_subscription(conn, payment, now, &record, &found, err))
        return -1;
    if (!found)
        return 0;
    if (record_payment(conn, payment, &newer, &out->back, err))
        return -1;
    if (!newer)
        out->result = FOLD_KNOWN;
    else if (fold_again(conn, &record, now, out, err))
        return -1;
    return judge_refusal(conn, &record, payment, &out->refused, err);
}
