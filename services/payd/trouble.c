/* Row and event are written in one transaction, and the row's presence decides: a leader that takes
 * over in the middle of an outage finds it, and tells nobody again. */
#include "services/payd/trouble.h"

#include "services/payd/events.h"

#include <stdio.h>

static const struct pg_stmt begin_stmt = {
    "trouble_begin",
    "INSERT INTO chain_trouble (follower, kind, detail, since) VALUES ($1, $2, $3, "
    "clock_timestamp() - $4::bigint * interval '1 millisecond') ON CONFLICT DO NOTHING RETURNING "
    "to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since"};
static const struct pg_stmt end_stmt = {
    "trouble_end", "DELETE FROM chain_trouble WHERE follower = $1 AND kind = $2 RETURNING detail, "
                   "to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since, "
                   "extract(epoch FROM clock_timestamp() - since)::bigint AS seconds"};

static const char *kind(enum trouble which)
{
    static const char *const kinds[TROUBLES] = {
        [TROUBLE_AWAY] = "away",
        [TROUBLE_DISAGREEMENT] = "disagreement",
        [TROUBLE_BUDGET] = "wallet-budget",
        [TROUBLE_OMISSION] = "omission",
    };
    return kinds[which];
}

static int tell(struct pg_conn *conn, const struct trouble_site *site, const char *type,
                json_t *data, struct err *err)
{
    char subject[48];
    snprintf(subject, sizeof(subject), "eip155:%llu", (unsigned long long)site->chain_id);
    return event_put(conn, site->follower, type, subject, data, err);
}

static int begin(struct pg_conn *conn, const struct trouble_site *site, enum trouble which,
                 int64_t age_ms, const char *detail, bool *changed, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    if (pg_run(conn, &begin_stmt,
               PG_PARAMS(pg_num(site->follower).s, kind(which), detail, pg_num(age_ms).s), &row,
               err) != 0)
        return -1;
    *changed = PQntuples(row) == 1;
    if (!*changed)
        return 0;
    return tell(conn, site, EVENTS_DEGRADED,
                json_pack("{s:s, s:s, s:s}", "reason", kind(which), "since",
                          pg_text(row, 0, "since"), "detail", detail),
                err);
}

static int end(struct pg_conn *conn, const struct trouble_site *site, enum trouble which,
               bool *changed, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    if (pg_run(conn, &end_stmt, PG_PARAMS(pg_num(site->follower).s, kind(which)), &row, err) != 0)
        return -1;
    *changed = PQntuples(row) == 1;
    if (!*changed)
        return 0;
    return tell(conn, site, EVENTS_RECOVERED,
                json_pack("{s:s, s:s, s:I}", "reason", kind(which), "since",
                          pg_text(row, 0, "since"), "seconds",
                          (json_int_t)pg_int(row, 0, "seconds")),
                err);
}

static int finish(struct pg_conn *conn, int rc, bool *changed, struct err *err)
{
    if (rc == 0)
        rc = pg_commit(conn, err);
    else
        pg_rollback(conn);
    if (rc != 0)
        *changed = false;
    return rc;
}

int trouble_begin(struct pg_conn *conn, const struct trouble_site *site, enum trouble which,
                  int64_t age_ms, const char *detail, bool *changed, struct err *err)
{
    *changed = false;
    if (pg_begin(conn, err) != 0)
        return -1;
    return finish(conn, begin(conn, site, which, age_ms, detail, changed, err), changed, err);
}

int trouble_end(struct pg_conn *conn, const struct trouble_site *site, enum trouble which,
                bool *changed, struct err *err)
{
    *changed = false;
    if (pg_begin(conn, err) != 0)
        return -1;
    return finish(conn, end(conn, site, which, changed, err), changed, err);
}
