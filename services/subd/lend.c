/* The transaction of lending. Locks, in the order of the whole service: subscriptions shared, so
 * that nobody revokes or upgrades in between; then the quota rows, then those of the day. The
 * update repeats the condition granted + n <= limit, so an error here could refuse too much and
 * never grant it. */
#include "services/subd/lend.h"

#include "libcommon/buf.h"
#include "libcommon/json.h"
#include "services/subd/gauges.h"
#include "services/subd/leases.h"
#include "services/subd/lend_choose.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define STALE_MS 30000 /* a lease this long past its deadline is no longer expected back soon */

/* One message of asks while it is worked on. */
struct lending {
    const struct lease_request *request;
    int64_t now_ms;
    char day[11];           /* that now_ms lies in */
    struct record *records; /* one for each ask */
    struct lend_quota *quotas;
    struct lease_reply *reply;
};

static const struct pg_stmt turn_stmt = {
    "lend_turn", "INSERT INTO journal AS j (journal, round) VALUES ($1, $2)"
                 " ON CONFLICT (journal) DO UPDATE SET round = excluded.round"
                 " WHERE j.round < excluded.round RETURNING final"};
static const struct pg_stmt applied_stmt = {
    "lend_applied",
    "SELECT journal, watermark, fenced FROM journal WHERE journal = ANY ($1::text[])"};
static const struct pg_stmt make_stmt = {
    "lend_make",
    "WITH a AS (SELECT * FROM jsonb_to_recordset($1::jsonb) AS a(sub text, period bigint)),"
    " d AS (INSERT INTO quota_day (subscription, day) SELECT sub, $2::date FROM a"
    " ORDER BY sub ON CONFLICT DO NOTHING)"
    " INSERT INTO quota (subscription, period) SELECT sub, period FROM a"
    " ORDER BY sub ON CONFLICT DO NOTHING"};
static const struct pg_stmt lock_stmt = {
    "lend_lock",
    "SELECT q.* FROM quota q JOIN jsonb_to_recordset($1::jsonb) AS a(sub text, period bigint)"
    " ON q.subscription = a.sub AND q.period = a.period"
    " ORDER BY q.subscription, q.period FOR UPDATE OF q"};
static const struct pg_stmt days_stmt = {
    "lend_days", "SELECT d.subscription, d.granted_requests FROM quota_day d"
                 " JOIN jsonb_to_recordset($1::jsonb) AS a(sub text) ON d.subscription = a.sub"
                 " WHERE d.day = $2::date ORDER BY d.subscription FOR UPDATE OF d"};
static const struct pg_stmt open_stmt = {
    "lend_open",
    "SELECT l.subscription, count(DISTINCT l.journal) FILTER (WHERE l.journal <> $2"
    " AND l.deadline_ms > $3::bigint) AS others,"
    " bool_or(l.granted_requests > l.used_requests AND l.deadline_ms > $4::bigint) AS requests,"
    " bool_or(l.granted_requests > l.used_requests AND l.deadline_ms > $4::bigint"
    " AND l.day = $5::date) AS requests_per_day,"
    " bool_or(l.granted_bytes > l.used_bytes AND l.deadline_ms > $4::bigint) AS bytes,"
    " bool_or(l.granted_messages > l.used_messages AND l.deadline_ms > $4::bigint) AS messages,"
    " bool_or(l.granted_cost > l.used_cost AND l.deadline_ms > $4::bigint) AS cost"
    " FROM lease l JOIN jsonb_to_recordset($1::jsonb) AS a(sub text, period bigint)"
    " ON l.subscription = a.sub AND l.quota_period = a.period"
    " WHERE NOT l.closed GROUP BY l.subscription"};
static const struct pg_stmt grant_stmt = {
    "lend_grant",
    "WITH g AS (SELECT * FROM jsonb_to_recordset($1::jsonb) AS g(sub text, period bigint, day date,"
    " deadline bigint, requests bigint, bytes bigint, messages bigint, cost bigint,"
    " max_requests bigint, max_bytes bigint, max_messages bigint, max_cost bigint,"
    " max_requests_per_day bigint)),"
    " d AS (UPDATE quota_day d SET"
    " granted_requests = d.granted_requests + greatest(g.requests, 0)"
    " FROM g WHERE d.subscription = g.sub AND d.day = g.day"
    " AND (g.requests <= 0 OR g.max_requests_per_day = 0"
    " OR d.granted_requests + g.requests <= g.max_requests_per_day)"
    " RETURNING d.subscription),"
    " q AS (UPDATE quota q SET"
    " granted_requests = q.granted_requests + greatest(g.requests, 0),"
    " granted_bytes = q.granted_bytes + greatest(g.bytes, 0),"
    " granted_messages = q.granted_messages + greatest(g.messages, 0),"
    " granted_cost = q.granted_cost + greatest(g.cost, 0)"
    " FROM g JOIN d ON d.subscription = g.sub"
    " WHERE q.subscription = g.sub AND q.period = g.period"
    " AND (g.requests <= 0 OR (g.max_requests = 0 AND g.max_requests_per_day > 0)"
    " OR q.granted_requests + g.requests <= g.max_requests)"
    " AND (g.bytes <= 0 OR q.granted_bytes + g.bytes <= g.max_bytes)"
    " AND (g.messages <= 0 OR q.granted_messages + g.messages <= g.max_messages)"
    " AND (g.cost <= 0 OR q.granted_cost + g.cost <= g.max_cost)"
    " RETURNING q.subscription)"
    " INSERT INTO lease (journal, subscription, period, quota_period, day, deadline_ms,"
    " granted_requests, granted_bytes, granted_messages, granted_cost)"
    " SELECT $2, g.sub, g.period, g.period, g.day, g.deadline, g.requests, g.bytes, g.messages,"
    " g.cost FROM g JOIN q ON q.subscription = g.sub RETURNING id, subscription"};

/* Requests of a journal follow each other: one that was overtaken is heard by nobody, and what it
 * would grant were lost. */
static int take_turn(const struct lending *lending, struct pg_conn *conn, struct err *err)
{
    const struct lease_request *request = lending->request;
    AUTO_PG_RESULT PGresult *turn = NULL;
    if (request->journal_count == 0)
        return err_set(err, "journals: 1 to %d of them", LEASE_JOURNALS_MAX);
    if (pg_run(conn, &turn_stmt, PG_PARAMS(request->journals[0], pg_num(request->round).s), &turn,
               err))
        return -1;
    if (PQntuples(turn) == 0)
        return err_set(err, "round: a later request of this journal was answered");
    if (request->ask_count && pg_bool(turn, 0, "final"))
        return err_set(err, "journal %s is final", request->journals[0]);
    return 0;
}

/* Every journal asked for is answered; unknown ones stand at 0. */
static int read_applied(struct lending *lending, struct pg_conn *conn, struct err *err)
{
    const struct lease_request *request = lending->request;
    struct lease_reply *reply = lending->reply;
    const char *names[LEASE_JOURNALS_MAX];
    size_t count = request->journal_count;
    if (count == 0 || count > LEASE_JOURNALS_MAX)
        return err_set(err, "journals: 1 to %d of them", LEASE_JOURNALS_MAX);
    reply->applied = mem_array(count, sizeof(*reply->applied));
    reply->applied_count = count;
    for (size_t i = 0; i < count; i++) {
        names[i] = request->journals[i];
        memcpy(reply->applied[i].journal, names[i], LEASE_JOURNAL_LEN + 1);
    }
    AUTO_FREE char *array = record_array(names, count);
    AUTO_PG_RESULT PGresult *rows = NULL;
    if (pg_run(conn, &applied_stmt, PG_PARAMS(array), &rows, err))
        return -1;
    for (int row = 0; row < PQntuples(rows); row++) {
        const char *journal = pg_text(rows, row, "journal");
        if (pg_bool(rows, row, "fenced") && strcmp(journal, names[0]) == 0)
            return err_set(err, "journal %s is fenced", journal);
        for (size_t i = 0; i < count; i++) {
            if (strcmp(reply->applied[i].journal, journal) == 0)
                reply->applied[i].seq = pg_int(rows, row, "watermark");
        }
    }
    return 0;
}

static int lock_records(struct lending *lending, struct pg_conn *conn, struct err *err)
{
    const struct lease_request *request = lending->request;
    const char *ids[SUB_BATCH_MAX];
    if (request->ask_count > SUB_BATCH_MAX)
        return err_set(err, "ask: at most %d", SUB_BATCH_MAX);
    for (size_t i = 0; i < request->ask_count; i++)
        ids[i] = request->asks[i].sub;
    return record_list(conn, ids, request->ask_count, true, lending->now_ms / 1000,
                       &lending->records, err);
}

/* Said before in the same message: answered once. */
static bool repeated(const struct lending *lending, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (strcmp(lending->request->asks[k].sub, lending->request->asks[i].sub) == 0)
            return true;
    }
    return false;
}

/* [{"sub", "period"}] of what may be granted; the caller frees. NULL: nothing. */
static char *quota_keys(const struct lending *lending)
{
    AUTO_JSON json_t *list = json_array();
    for (size_t i = 0; i < lending->request->ask_count; i++) {
        if (lending->records[i].pub.state == SUB_ACTIVE && !repeated(lending, i))
            json_array_append_new(
                list, json_pack("{s:s, s:I}", "sub", lending->records[i].pub.id, "period",
                                (json_int_t)lending->records[i].pub.period_start));
    }
    return json_array_size(list) ? json_text(list) : NULL;
}

static struct lend_quota *quota_of(struct lending *lending, const char *subscription)
{
    for (size_t i = 0; i < lending->request->ask_count; i++) {
        if (strcmp(lending->request->asks[i].sub, subscription) == 0)
            return &lending->quotas[i];
    }
    return NULL;
}

static int lock_days(struct lending *lending, struct pg_conn *conn, const char *keys,
                     struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    if (pg_run(conn, &days_stmt, PG_PARAMS(keys, lending->day), &rows, err))
        return -1;
    for (int row = 0; row < PQntuples(rows); row++) {
        struct lend_quota *quota = quota_of(lending, pg_text(rows, row, "subscription"));
        if (quota)
            quota->day_granted = pg_int(rows, row, "granted_requests");
    }
    return 0;
}

static int lock_quotas(struct lending *lending, struct pg_conn *conn, const char *keys,
                       struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    if (pg_run(conn, &make_stmt, PG_PARAMS(keys, lending->day), NULL, err) ||
        pg_run(conn, &lock_stmt, PG_PARAMS(keys), &rows, err))
        return -1;
    for (int row = 0; row < PQntuples(rows); row++) {
        struct lend_quota *quota = quota_of(lending, pg_text(rows, row, "subscription"));
        if (!quota)
            continue;
        quota->granted[SUB_REQUESTS] = pg_int(rows, row, "granted_requests");
        quota->granted[SUB_BYTES] = pg_int(rows, row, "granted_bytes");
        quota->granted[SUB_MESSAGES] = pg_int(rows, row, "granted_messages");
        quota->granted[SUB_COST] = pg_int(rows, row, "granted_cost");
    }
    return lock_days(lending, conn, keys, err);
}

static int count_open(struct lending *lending, struct pg_conn *conn, const char *keys,
                      struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    if (pg_run(conn, &open_stmt,
               PG_PARAMS(keys, lending->request->journals[0], pg_num(lending->now_ms).s,
                         pg_num(lending->now_ms - STALE_MS).s, lending->day),
               &rows, err))
        return -1;
    for (int row = 0; row < PQntuples(rows); row++) {
        struct lend_quota *quota = quota_of(lending, pg_text(rows, row, "subscription"));
        if (!quota)
            continue;
        quota->others = pg_int(rows, row, "others");
        for (int kind = 0; kind < SUB_KINDS; kind++)
            quota->returning[kind] = pg_bool(rows, row, sub_kind_name((enum sub_kind)kind));
        quota->day_returning = pg_bool(rows, row, "requests_per_day");
    }
    return 0;
}

static json_t *grant_row(const struct lending *lending, const struct lease_grant *grant,
                         const struct record *record)
{
    json_int_t period = grant->period, deadline = lending->now_ms + grant->ttl_ms;
    json_int_t a_day = record->pub.limits.requests_per_day;
    json_t *row = json_pack("{s:s, s:I, s:s, s:I, s:I}", "sub", grant->sub, "period", period, "day",
                            grant->day, "deadline", deadline, "max_requests_per_day", a_day);
    for (int i = 0; i < SUB_KINDS; i++) {
        char max[32];
        const char *name = sub_kind_name((enum sub_kind)i);
        snprintf(max, sizeof(max), "max_%s", name);
        json_object_set_new(row, name, json_integer(grant->amount[i]));
        json_object_set_new(row, max, json_integer(record->pub.limits.quota[i]));
    }
    return row;
}

/* Fills grants and refusals; *rows is what the grants look like in the database. */
static void choose_all(struct lending *lending, int64_t lease_ms, json_t *rows)
{
    struct lease_reply *reply = lending->reply;
    size_t count = lending->request->ask_count;
    reply->grants = mem_array(count + 1, sizeof(*reply->grants));
    reply->refused = mem_array(count + 1, sizeof(*reply->refused));
    for (size_t i = 0; i < count; i++) {
        struct lease_grant *grant = &reply->grants[reply->grant_count];
        if (repeated(lending, i))
            continue;
        if (lend_choose(&lending->request->asks[i], &lending->records[i], &lending->quotas[i],
                        lending->now_ms, lease_ms, grant, &reply->refused[reply->refused_count])) {
            json_array_append_new(rows, grant_row(lending, grant, &lending->records[i]));
            reply->grant_count++;
        } else {
            reply->refused_count++;
        }
    }
}

static int write_grants(struct lending *lending, struct pg_conn *conn, const json_t *rows,
                        struct err *err)
{
    struct lease_reply *reply = lending->reply;
    if (reply->grant_count == 0)
        return 0;
    AUTO_FREE char *text = json_text(rows);
    AUTO_PG_RESULT PGresult *made = NULL;
    if (pg_run(conn, &grant_stmt, PG_PARAMS(text, lending->request->journals[0]), &made, err))
        return -1;
    if ((size_t)PQntuples(made) != reply->grant_count)
        return err_set(err, "a quota changed under its lock");
    for (int row = 0; row < PQntuples(made); row++) {
        for (size_t i = 0; i < reply->grant_count; i++) {
            if (strcmp(reply->grants[i].sub, pg_text(made, row, "subscription")) == 0)
                reply->grants[i].id = pg_int(made, row, "id");
        }
    }
    return 0;
}

static int transact(struct lending *lending, struct pg_conn *conn, int64_t lease_ms,
                    struct err *err)
{
    AUTO_JSON json_t *rows = json_array();
    const struct lease_request *request = lending->request;
    if (pg_begin(conn, err) || take_turn(lending, conn, err) || read_applied(lending, conn, err) ||
        lock_records(lending, conn, err) ||
        leases_close(conn, request->journals[0], request->last, err))
        return -1;
    assert(lending->records);
    AUTO_FREE char *keys = quota_keys(lending);
    if (keys && (lock_quotas(lending, conn, keys, err) || count_open(lending, conn, keys, err)))
        return -1;
    choose_all(lending, lease_ms, rows);
    return write_grants(lending, conn, rows, err) || pg_commit(conn, err) ? -1 : 0;
}

static void count_results(struct subd *subd, const struct lease_reply *reply)
{
    metric_add(metrics_cell(subd->metrics, GAUGES_LEASES, (const char *const[]){"granted"}),
               (int64_t)reply->grant_count);
    for (size_t i = 0; i < reply->refused_count; i++)
        metrics_count(subd->metrics, GAUGES_LEASES,
                      reply->refused[i].reason == LEASE_QUOTA_EXCEEDED ? "quota-exceeded"
                                                                       : "payment-required",
                      NULL);
}

int lend(struct subd *subd, struct pg_conn *conn, const struct lease_request *request,
         int64_t now_ms, struct lease_reply *reply, struct err *err)
{
    memset(reply, 0, sizeof(*reply));
    AUTO_FREE struct lend_quota *quotas = mem_array(request->ask_count + 1, sizeof(*quotas));
    struct lending lending = {
        .request = request, .now_ms = now_ms, .quotas = quotas, .reply = reply};
    clock_day(now_ms / 1000, lending.day);
    int failed = transact(&lending, conn, subd->settings->lease_ms, err);
    free(lending.records);
    if (failed) {
        pg_rollback(conn);
        lease_reply_clear(reply);
        return -1;
    }
    count_results(subd, reply);
    return 0;
}
