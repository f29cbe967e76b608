/* The transaction of one batch. Locks: the journal's row, which makes its batches follow each
 * other; then leases by id, then quotas by subscription and period, then those of a day, as
 * everywhere in this service. */
#include "services/subd/ledger.h"

#include "libcommon/eth/hex.h"
#include "services/subd/leases.h"

#include <string.h>

#define ENTRIES                                                                                    \
    "WITH e AS (SELECT * FROM jsonb_to_recordset($1::jsonb -> 'entries') AS e(sub text,"           \
    " lease bigint, period bigint, day date, requests bigint, bytes_in bigint, bytes_out bigint,"  \
    " messages bigint, events bigint, cost bigint, closed boolean))"
#define KEPT_AT_MOST 10000 /* batches of a journal */
#define OWN          " l.id = e.lease AND l.subscription = e.sub AND l.journal = $2"

static const struct pg_stmt journal_stmt = {
    "ledger_journal", "INSERT INTO journal (journal) VALUES ($1) ON CONFLICT DO NOTHING"};
static const struct pg_stmt watermark_stmt = {
    "ledger_watermark", "SELECT watermark, fenced FROM journal WHERE journal = $1 FOR UPDATE"};
static const struct pg_stmt seen_stmt = {
    "ledger_seen", "SELECT sha256 FROM usage_batch WHERE journal = $1 AND seq = $2"};
static const struct pg_stmt batch_stmt = {
    "ledger_batch",
    "INSERT INTO usage_batch (journal, seq, sha256, entries) VALUES ($1, $2, $3, $4)"};
static const struct pg_stmt leases_stmt = {
    "ledger_leases",
    ENTRIES " SELECT l.id FROM lease l WHERE l.id IN (SELECT lease FROM e) AND l.journal = $2"
            " ORDER BY l.id FOR UPDATE"};
static const struct pg_stmt quotas_stmt = {
    "ledger_quotas", ENTRIES " SELECT 1 FROM quota q WHERE (q.subscription, q.period) IN"
                             " (SELECT l.subscription, l.quota_period FROM lease l JOIN e ON" OWN
                             "  UNION SELECT sub, period FROM e)"
                             " ORDER BY q.subscription, q.period FOR UPDATE"};
static const struct pg_stmt day_quotas_stmt = {
    "ledger_day_quotas", ENTRIES " SELECT 1 FROM quota_day q WHERE (q.subscription, q.day) IN"
                                 " (SELECT l.subscription, l.day FROM lease l JOIN e ON" OWN
                                 "  UNION SELECT sub, day FROM e)"
                                 " ORDER BY q.subscription, q.day FOR UPDATE"};
/* What a lease holds of its quota before and after: the difference is what the quota gets back, or
 * what was spent beyond the lease. */
static const struct pg_stmt spend_stmt = {
    "ledger_spend",
    ENTRIES ", s AS (SELECT lease, sub, sum(requests) AS requests, sum(bytes_in + bytes_out) AS"
            " bytes, sum(messages) AS messages, sum(cost) AS cost, bool_or(closed) AS closed"
            " FROM e GROUP BY lease, sub),"
            " b AS (SELECT l.*, e.requests AS n_requests, e.bytes AS n_bytes,"
            " e.messages AS n_messages, e.cost AS n_cost, e.closed AS n_closed"
            " FROM lease l JOIN s e ON" OWN "),"
            " u AS (UPDATE lease l SET used_requests = l.used_requests + e.requests,"
            " used_bytes = l.used_bytes + e.bytes, used_messages = l.used_messages + e.messages,"
            " used_cost = l.used_cost + e.cost, closed = l.closed OR e.closed"
            " FROM s e WHERE" OWN " RETURNING l.*),"
            " d AS (SELECT b.subscription, b.quota_period,"
            " sum(lease_held(u.granted_requests, u.used_requests, u.closed)"
            " - lease_held(b.granted_requests, b.used_requests, b.closed)) AS h_requests,"
            " sum(lease_held(u.granted_bytes, u.used_bytes, u.closed)"
            " - lease_held(b.granted_bytes, b.used_bytes, b.closed)) AS h_bytes,"
            " sum(lease_held(u.granted_messages, u.used_messages, u.closed)"
            " - lease_held(b.granted_messages, b.used_messages, b.closed)) AS h_messages,"
            " sum(lease_held(u.granted_cost, u.used_cost, u.closed)"
            " - lease_held(b.granted_cost, b.used_cost, b.closed)) AS h_cost,"
            " sum(n_requests) AS requests, sum(n_bytes) AS bytes, sum(n_messages) AS messages,"
            " sum(n_cost) AS cost FROM b JOIN u ON u.id = b.id"
            " GROUP BY b.subscription, b.quota_period),"
            " q AS (UPDATE quota q SET granted_requests = q.granted_requests + d.h_requests,"
            " granted_bytes = q.granted_bytes + d.h_bytes,"
            " granted_messages = q.granted_messages + d.h_messages,"
            " granted_cost = q.granted_cost + d.h_cost, used_requests = q.used_requests +"
            " d.requests, used_bytes = q.used_bytes + d.bytes, used_messages = q.used_messages +"
            " d.messages, used_cost = q.used_cost + d.cost FROM d"
            " WHERE q.subscription = d.subscription AND q.period = d.quota_period),"
            " y AS (SELECT b.subscription, b.day,"
            " sum(lease_held(u.granted_requests, u.used_requests, u.closed)"
            " - lease_held(b.granted_requests, b.used_requests, b.closed)) AS h_requests,"
            " sum(n_requests) AS requests FROM b JOIN u ON u.id = b.id"
            " GROUP BY b.subscription, b.day),"
            " t AS (UPDATE quota_day q SET granted_requests = q.granted_requests + y.h_requests,"
            " used_requests = q.used_requests + y.requests FROM y"
            " WHERE q.subscription = y.subscription AND q.day = y.day)"
            " SELECT count(*) FILTER (WHERE granted_requests >= 0 AND used_requests >"
            " granted_requests) AS overspent FROM u"};
/* Leases that nobody knows: what was served on them counts against the quota it names. */
static const struct pg_stmt strange_stmt = {
    "ledger_strange",
    ENTRIES ", x AS (SELECT e.* FROM e WHERE NOT EXISTS (SELECT FROM lease l WHERE" OWN ")),"
            " s AS (SELECT sub, period, sum(requests) AS requests, sum(bytes_in + bytes_out) AS"
            " bytes, sum(messages) AS messages, sum(cost) AS cost FROM x GROUP BY sub, period),"
            " q AS (UPDATE quota q SET granted_requests = q.granted_requests + s.requests,"
            " granted_bytes = q.granted_bytes + s.bytes, granted_messages = q.granted_messages +"
            " s.messages, granted_cost = q.granted_cost + s.cost,"
            " used_requests = q.used_requests + s.requests, used_bytes = q.used_bytes + s.bytes,"
            " used_messages = q.used_messages + s.messages, used_cost = q.used_cost + s.cost"
            " FROM s WHERE q.subscription = s.sub AND q.period = s.period),"
            " y AS (SELECT sub, day, sum(requests) AS requests FROM x GROUP BY sub, day),"
            " t AS (UPDATE quota_day q SET granted_requests = q.granted_requests + y.requests,"
            " used_requests = q.used_requests + y.requests"
            " FROM y WHERE q.subscription = y.sub AND q.day = y.day)"
            " SELECT count(*) AS strange FROM x"};
static const struct pg_stmt days_stmt = {
    "ledger_days",
    ENTRIES " INSERT INTO usage_day AS d (subscription, period, day, requests, bytes_in, bytes_out,"
            " messages, events, cost) SELECT sub, period, day, sum(requests), sum(bytes_in),"
            " sum(bytes_out), sum(messages), sum(events), sum(cost) FROM e"
            " GROUP BY sub, period, day ORDER BY sub, period, day"
            " ON CONFLICT (subscription, period, day) DO UPDATE SET"
            " requests = d.requests + excluded.requests, bytes_in = d.bytes_in + excluded.bytes_in,"
            " bytes_out = d.bytes_out + excluded.bytes_out,"
            " messages = d.messages + excluded.messages, events = d.events + excluded.events,"
            " cost = d.cost + excluded.cost"};
static const struct pg_stmt advance_stmt = {
    "ledger_advance", "UPDATE journal SET watermark = $2, final = final OR $3::boolean,"
                      " updated_at = now() WHERE journal = $1"};
static const struct pg_stmt keep_stmt = {
    "ledger_keep", "INSERT INTO early_batch AS e (journal, seq, sha256, payload)"
                   " VALUES ($1, $2, $3, $4) ON CONFLICT (journal, seq)"
                   " DO UPDATE SET kept_at = e.kept_at RETURNING sha256"};
static const struct pg_stmt drop_stmt = {
    "ledger_drop", "DELETE FROM early_batch WHERE journal = $1 AND seq <= $2"};
static const struct pg_stmt next_stmt = {
    "ledger_next", "SELECT e.payload FROM journal j JOIN early_batch e"
                   " ON e.journal = j.journal AND e.seq = j.watermark + 1 WHERE j.journal = $1"};
static const struct pg_stmt waiting_stmt = {"ledger_waiting",
                                            "SELECT j.journal FROM early_batch e JOIN journal j"
                                            " ON e.journal = j.journal AND e.seq = j.watermark + 1"
                                            " WHERE NOT j.fenced LIMIT 64"};
static const struct pg_stmt park_stmt = {
    "ledger_park", "INSERT INTO parked_batch (subject, sha256, reason, payload)"
                   " VALUES ($1, $2, $3, $4::bytea) ON CONFLICT DO NOTHING"};

/* A lower seq than expected: the same bytes, or another content. */
static int judge_repeat(struct pg_conn *conn, const struct usage_batch *batch, const char *sha256,
                        enum ledger_result *result, struct err *err)
{
    AUTO_PG_RESULT PGresult *seen = NULL;
    if (pg_run(conn, &seen_stmt, PG_PARAMS(batch->journal, pg_num(batch->seq).s), &seen, err))
        return -1;
    bool other = PQntuples(seen) && strcmp(pg_text(seen, 0, "sha256"), sha256) != 0;
    *result = other ? LEDGER_DIFFERING : LEDGER_REPEATED;
    return 0;
}

/* Kept under the journal's lock; another content under the same number is not. */
static int keep_early(struct pg_conn *conn, const struct usage_batch *batch, const char *text,
                      const char *sha256, enum ledger_result *result, struct err *err)
{
    AUTO_PG_RESULT PGresult *kept = NULL;
    if (pg_run(conn, &keep_stmt, PG_PARAMS(batch->journal, pg_num(batch->seq).s, sha256, text),
               &kept, err))
        return -1;
    if (strcmp(pg_text(kept, 0, "sha256"), sha256) != 0)
        *result = LEDGER_DIFFERING;
    return 0;
}

/* Locks the journal and says what is to be done; LEDGER_APPLIED: it is the next one. */
static int judge(struct pg_conn *conn, const struct usage_batch *batch, const char *sha256,
                 enum ledger_result *result, struct err *err)
{
    AUTO_PG_RESULT PGresult *journal = NULL;
    if (pg_run(conn, &journal_stmt, PG_PARAMS(batch->journal), NULL, err) ||
        pg_run(conn, &watermark_stmt, PG_PARAMS(batch->journal), &journal, err))
        return -1;
    if (PQntuples(journal) != 1)
        return err_set(err, "journal %s is gone", batch->journal);
    int64_t watermark = pg_int(journal, 0, "watermark");
    if (batch->seq <= watermark)
        return judge_repeat(conn, batch, sha256, result, err);
    *result = pg_bool(journal, 0, "fenced")            ? LEDGER_FENCED
              : batch->seq == watermark + 1            ? LEDGER_APPLIED
              : batch->seq - watermark <= KEPT_AT_MOST ? LEDGER_KEPT
                                                       : LEDGER_EARLY;
    return 0;
}

static int write_entries(struct pg_conn *conn, const struct usage_batch *batch, const char *text,
                         int64_t *strange, struct err *err)
{
    AUTO_PG_RESULT PGresult *spent = NULL;
    AUTO_PG_RESULT PGresult *unknown = NULL;
    if (pg_run(conn, &leases_stmt, PG_PARAMS(text, batch->journal), NULL, err) ||
        pg_run(conn, &quotas_stmt, PG_PARAMS(text, batch->journal), NULL, err) ||
        pg_run(conn, &day_quotas_stmt, PG_PARAMS(text, batch->journal), NULL, err) ||
        pg_run(conn, &strange_stmt, PG_PARAMS(text, batch->journal), &unknown, err) ||
        pg_run(conn, &spend_stmt, PG_PARAMS(text, batch->journal), &spent, err) ||
        pg_run(conn, &days_stmt, PG_PARAMS(text), NULL, err))
        return -1;
    *strange = pg_int(unknown, 0, "strange");
    return 0;
}

static int write_batch(struct pg_conn *conn, const struct usage_batch *batch, const char *text,
                       const char *sha256, int64_t *strange, struct err *err)
{
    struct pg_num seq = pg_num(batch->seq);
    if (pg_run(conn, &batch_stmt,
               PG_PARAMS(batch->journal, seq.s, sha256, pg_num((int64_t)batch->count).s), NULL,
               err) ||
        (batch->count && write_entries(conn, batch, text, strange, err)) ||
        pg_run(conn, &drop_stmt, PG_PARAMS(batch->journal, seq.s), NULL, err))
        return -1;
    if (batch->final && leases_close(conn, batch->journal, 0, err))
        return -1;
    return pg_run(conn, &advance_stmt,
                  PG_PARAMS(batch->journal, seq.s, batch->final ? "true" : "false"), NULL, err);
}

int ledger_apply(struct pg_conn *conn, const struct usage_batch *batch, const char *text,
                 const char *sha256, enum ledger_result *result, int64_t *strange, struct err *err)
{
    *strange = 0;
    if (pg_begin(conn, err) || judge(conn, batch, sha256, result, err) ||
        (*result == LEDGER_APPLIED && write_batch(conn, batch, text, sha256, strange, err)) ||
        (*result == LEDGER_KEPT && keep_early(conn, batch, text, sha256, result, err)) ||
        pg_commit(conn, err)) {
        pg_rollback(conn);
        return -1;
    }
    return 0;
}

int ledger_next(struct pg_conn *conn, const char *journal, char **text, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    *text = NULL;
    if (pg_run(conn, &next_stmt, PG_PARAMS(journal), &row, err))
        return -1;
    if (PQntuples(row))
        *text = mem_strdup(pg_text(row, 0, "payload"));
    return 0;
}

int ledger_waiting(struct pg_conn *conn, PGresult **out, struct err *err)
{
    return pg_run(conn, &waiting_stmt, NULL, 0, out, err);
}

int ledger_park(struct pg_conn *conn, const char *subject, const void *data, size_t len,
                const char *sha256, const char *reason, struct err *err)
{
    AUTO_FREE char *hex = mem_alloc(2 * len + 3);
    hex_encode_bare(data, len, hex + 2);
    memcpy(hex, "\\x", 2);
    return pg_run(conn, &park_stmt, PG_PARAMS(subject, sha256, reason, hex), NULL, err);
}
