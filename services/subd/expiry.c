/* Wakes at the next end, and at least each second, since another instance may have made an earlier
 * one. Rows that somebody works on are skipped and come up at the next turn. */
#include "services/subd/expiry.h"

#include "libcommon/log.h"
#include "services/subd/record.h"
#include "services/subd/state.h"
#include "services/subd/ticker.h"

#define BATCH     64
#define POLL_MS   1000
#define BUSY_MS   10 /* somebody works on what is due */
#define RETAIN_MS (10 * 60 * 1000)

struct expiry {
    struct subd *subd;
    struct ticker *due;
    struct ticker *retention;
};

static const struct pg_stmt due_stmt = {
    "expiry_due", "SELECT " RECORD_COLUMNS " FROM subscription WHERE state = 'active'"
                  " AND expires_at <= $1 ORDER BY expires_at LIMIT 64 FOR UPDATE SKIP LOCKED"};
static const struct pg_stmt next_stmt = {
    "expiry_next", "SELECT coalesce(min(expires_at), 0) AS next FROM subscription"
                   " WHERE state = 'active'"};

static int end_rows(struct pg_conn *conn, const PGresult *rows, int64_t now,
                    struct record ended[BATCH], int *count, struct err *err)
{
    enum sub_state to;
    *count = 0;
    for (int row = 0; row < PQntuples(rows) && row < BATCH; row++) {
        struct record *record = &ended[*count];
        if (record_read(rows, row, now, record, err))
            return -1;
        if (state_transition(record->pub.state, STATE_LAPSED, &to))
            continue;
        if (record_move(conn, record, to, err))
            return -1;
        ++*count;
    }
    return 0;
}

static int end_due(struct pg_conn *conn, int64_t now, struct record ended[BATCH], int *count,
                   struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    if (pg_begin(conn, err) || pg_run(conn, &due_stmt, PG_PARAMS(pg_num(now).s), &rows, err) ||
        end_rows(conn, rows, now, ended, count, err) || pg_commit(conn, err)) {
        pg_rollback(conn);
        return -1;
    }
    return 0;
}

int expiry_run(struct subd *subd, struct pg_conn *conn, int64_t now, int *ended, int64_t *next,
               struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    AUTO_FREE struct record *records = mem_array(BATCH, sizeof(*records));
    if (end_due(conn, now, records, ended, err) || pg_run(conn, &next_stmt, NULL, 0, &result, err))
        return -1;
    *next = pg_int(result, 0, "next");
    for (int i = 0; i < *ended; i++)
        state_announce(subd->metrics, records[i].pub.id, records[i].pub.version, SUB_ACTIVE,
                       records[i].pub.state, STATE_LAPSED);
    if (*ended)
        subd_changed(subd);
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

/* Journals' watermarks and usage stay for ever. Bounded, so that no turn holds locks for long. */
static const struct pg_stmt retain_stmts[] = {
    {"retain_batches", "DELETE FROM usage_batch WHERE ctid IN (SELECT ctid FROM usage_batch"
                       " WHERE applied_at < to_timestamp($1) LIMIT 5000)"},
    {"retain_leases", "DELETE FROM lease WHERE ctid IN (SELECT ctid FROM lease"
                      " WHERE deadline_ms < $1::bigint * 1000 AND (closed OR quota_period <"
                      " $1::bigint - 31536000) LIMIT 5000)"},
    {"retain_days", "DELETE FROM quota_day WHERE ctid IN (SELECT ctid FROM quota_day"
                    " WHERE day < (to_timestamp($1) AT TIME ZONE 'UTC')::date - 2 LIMIT 5000)"},
    {"retain_refresh", "DELETE FROM refresh_token WHERE ctid IN (SELECT ctid FROM refresh_token"
                       " WHERE expires_at < $1::bigint LIMIT 5000)"},
    {"retain_families", "DELETE FROM refresh_family f WHERE f.created_at < to_timestamp($1)"
                        " AND NOT EXISTS (SELECT FROM refresh_token t WHERE t.family = f.family)"},
};

static int64_t retain(void *ctx)
{
    struct expiry *expiry = ctx;
    struct subd *subd = expiry->subd;
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    struct err err;
    if (subd_session(subd, &conn, &err))
        return POLL_MS;
    int64_t before = clock_wall_s(subd->clock) - subd->settings->retention_ms / 1000;
    for (size_t i = 0; i < ARRAY_LEN(retain_stmts); i++) {
        if (pg_run(conn, &retain_stmts[i], PG_PARAMS(pg_num(before).s), NULL, &err))
            log_warn("old rows are not deleted", LOG_STR(ERROR, err.msg));
    }
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
