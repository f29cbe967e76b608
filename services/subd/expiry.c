/* Wakes at the next end, and at least each second, since another instance may have made an earlier
 * one. Rows that somebody works on are skipped and come up at the next turn. An end needs this
 * machine's clock and the database's; what was ended all the same before its time comes back. */
#include "services/subd/expiry.h"

#include "libcommon/log.h"
#include "services/subd/gauges.h"
#include "services/subd/record.h"
#include "services/subd/state.h"
#include "services/subd/ticker.h"

#define BATCH     64
#define POLL_MS   1000
#define BUSY_MS   10 /* somebody works on what is due */
#define RETAIN_MS (10 * 60 * 1000)
#define EARLY_S   60 /* by how much a clock was wrong: less is what clocks differ by */

struct expiry {
    struct subd *subd;
    struct ticker *due;
    struct ticker *retention;
};

static const struct pg_stmt due_stmt = {
    "expiry_due", "SELECT " RECORD_COLUMNS " FROM subscription WHERE state = 'active'"
                  " AND expires_at <= $1 AND expires_at <= extract(epoch FROM now())"
                  " ORDER BY expires_at LIMIT 64 FOR UPDATE SKIP LOCKED"};
static const struct pg_stmt early_stmt = {
    "expiry_early", "SELECT " RECORD_COLUMNS " FROM subscription WHERE state = 'expired'"
                    " AND expires_at > $1 AND payment_id IS NOT NULL"
                    " ORDER BY expires_at LIMIT 64 FOR UPDATE SKIP LOCKED"};
static const struct pg_stmt next_stmt = {
    "expiry_next", "SELECT coalesce(min(expires_at), 0) AS next FROM subscription"
                   " WHERE state = 'active'"};

/* What one turn does: rows that a statement finds, and what happens to them. */
struct turn {
    const struct pg_stmt *find;
    enum sub_state from;
    enum state_event event;
    int64_t now, limit;
};

static int move_rows(struct pg_conn *conn, const PGresult *rows, const struct turn *turn,
                     struct record moved[BATCH], int *count, struct err *err)
{
    enum sub_state to;
    *count = 0;
    for (int row = 0; row < PQntuples(rows) && row < BATCH; row++) {
        struct record *record = &moved[*count];
        if (record_read(rows, row, turn->now, record, err))
            return -1;
        if (state_transition(record->pub.state, turn->event, &to))
            continue;
        if (record_move(conn, record, to, err))
            return -1;
        ++*count;
    }
    return 0;
}

static int move_found(struct pg_conn *conn, const struct turn *turn, struct record moved[BATCH],
                      int *count, struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    if (pg_begin(conn, err) ||
        pg_run(conn, turn->find, PG_PARAMS(pg_num(turn->limit).s), &rows, err) ||
        move_rows(conn, rows, turn, moved, count, err) || pg_commit(conn, err)) {
        pg_rollback(conn);
        return -1;
    }
    return 0;
}

static int take_turn(struct subd *subd, struct pg_conn *conn, const struct turn *turn, int *count,
                     struct err *err)
{
    AUTO_FREE struct record *records = mem_array(BATCH, sizeof(*records));
    if (move_found(conn, turn, records, count, err))
        return -1;
    for (int i = 0; i < *count; i++)
        state_announce(subd->metrics, records[i].pub.id, records[i].pub.version, turn->from,
                       records[i].pub.state, turn->event);
    if (*count)
        subd_changed(subd);
    return 0;
}

/* A clock that was ahead, of this machine or another instance's, cost nobody what is paid for. */
static int bring_back(struct subd *subd, struct pg_conn *conn, int64_t now, struct err *err)
{
    const struct turn turn = {&early_stmt, SUB_EXPIRED, STATE_PAID, now, now + EARLY_S};
    int count;
    if (take_turn(subd, conn, &turn, &count, err))
        return -1;
    if (count == 0)
        return 0;
    metrics_count(subd->metrics, GAUGES_ALERTS, "ended-early", NULL);
    log_error("subscriptions had been ended before their time, and are active again: a clock was "
              "wrong",
              LOG_INT(COUNT, count));
    return 0;
}

int expiry_run(struct subd *subd, struct pg_conn *conn, int64_t now, int *ended, int64_t *next,
               struct err *err)
{
    const struct turn turn = {&due_stmt, SUB_ACTIVE, STATE_LAPSED, now, now};
    AUTO_PG_RESULT PGresult *result = NULL;
    if (take_turn(subd, conn, &turn, ended, err) || bring_back(subd, conn, now, err) ||
        pg_run(conn, &next_stmt, NULL, 0, &result, err))
        return -1;
    *next = pg_int(result, 0, "next");
    return 0;
}

static int64_t step(void *ctx)
{
    struct expiry *expiry = ctx;
    struct subd *subd = expiry->subd;
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    struct err err;
    int ended = 0;
    int64_t next = 0;
    if (subd_session(subd, &conn, &err) ||
        expiry_run(subd, conn, clock_wall_s(subd->clock), &ended, &next, &err)) {
        log_debug("cannot end what is due", LOG_STR(ERROR, err.msg));
        return POLL_MS;
    }
    if (ended == BATCH)
        return 0;
    int64_t left = next ? next * 1000 - clock_wall_ms(subd->clock) : POLL_MS;
    return left < BUSY_MS ? BUSY_MS : left > POLL_MS ? POLL_MS : left;
}

/* What is gone stays gone: of this machine's clock and the database's the earlier one decides. */
#define KEPT_SINCE "(least($1::bigint, extract(epoch FROM clock_timestamp())::bigint) - $2::bigint)"

/* Journals' watermarks and usage stay for ever. Bounded, so that no turn holds locks for long. */
static const struct pg_stmt retain_stmts[] = {
    {"retain_batches", "DELETE FROM usage_batch WHERE ctid IN (SELECT ctid FROM usage_batch"
                       " WHERE applied_at < to_timestamp(" KEPT_SINCE ") LIMIT 5000)"},
    {"retain_leases", "DELETE FROM lease WHERE ctid IN (SELECT ctid FROM lease"
                      " WHERE deadline_ms < " KEPT_SINCE " * 1000 AND (closed OR quota_period <"
                      " " KEPT_SINCE " - 31536000) LIMIT 5000)"},
    {"retain_days", "DELETE FROM quota_day WHERE ctid IN (SELECT ctid FROM quota_day"
                    " WHERE day < (to_timestamp(" KEPT_SINCE ") AT TIME ZONE 'UTC')::date - 2"
                    " LIMIT 5000)"},
    {"retain_refresh", "DELETE FROM refresh_token WHERE ctid IN (SELECT ctid FROM refresh_token"
                       " WHERE expires_at < " KEPT_SINCE " LIMIT 5000)"},
    {"retain_families",
     "DELETE FROM refresh_family f WHERE f.created_at < to_timestamp(" KEPT_SINCE ")"
     " AND NOT EXISTS (SELECT FROM refresh_token t WHERE t.family = f.family)"},
};

/* A payment never goes but where payd's tables come from a backup and the chain has dropped it. */
static const struct pg_stmt gone_stmt = {
    "expiry_gone", "SELECT s.id, s.payment_id FROM subscription s WHERE s.state = 'active'"
                   " AND s.payment_id IS NOT NULL AND NOT EXISTS (SELECT FROM payments.payment_v1 p"
                   " WHERE p.payment_id = s.payment_id) ORDER BY s.id LIMIT 16"};

static void tell_gone(struct subd *subd, struct pg_conn *conn)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    struct err err;
    if (pg_run(conn, &gone_stmt, NULL, 0, &rows, &err)) {
        log_debug("cannot read payments", LOG_STR(ERROR, err.msg));
        return;
    }
    for (int row = 0; row < PQntuples(rows); row++) {
        metrics_count(subd->metrics, GAUGES_ALERTS, "payment-gone", NULL);
        log_error("an active subscription's payment is not there any more",
                  LOG_STR(SUBSCRIPTION, pg_text(rows, row, "id")),
                  LOG_STR(PAYMENT, pg_text(rows, row, "payment_id")));
    }
}

static int64_t retain(void *ctx)
{
    struct expiry *expiry = ctx;
    struct subd *subd = expiry->subd;
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    struct err err;
    if (subd_session(subd, &conn, &err))
        return POLL_MS;
    struct pg_num now = pg_num(clock_wall_s(subd->clock));
    struct pg_num kept = pg_num(subd->settings->retention_ms / 1000);
    for (size_t i = 0; i < ARRAY_LEN(retain_stmts); i++) {
        if (pg_run(conn, &retain_stmts[i], PG_PARAMS(now.s, kept.s), NULL, &err))
            log_warn("old rows are not deleted", LOG_STR(ERROR, err.msg));
    }
    tell_gone(subd, conn);
    return RETAIN_MS;
}

int expiry_start(struct subd *subd, struct expiry **out, struct err *err)
{
    struct expiry *expiry = mem_zalloc(sizeof(*expiry));
    *out = expiry;
    expiry->subd = subd;
    if (ticker_start("expiry", step, expiry, &expiry->due, err))
        return -1;
    return ticker_start("retention", retain, expiry, &expiry->retention, err);
}

void expiry_stop(struct expiry **ptr)
{
    struct expiry *expiry = *ptr;
    if (!expiry)
        return;
    *ptr = NULL;
    ticker_stop(&expiry->due);
    ticker_stop(&expiry->retention);
    free(expiry);
}
