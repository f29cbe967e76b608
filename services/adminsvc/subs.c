/* Reads the published view subscriptions.subscription_v1 and nothing else of that schema. Pages go
 * by id, which is the one order that has an index in every version of the view. */
#include "services/adminsvc/subs.h"

#include "libcommon/clock.h"

#define COLUMNS                                                                                    \
    "id, version, state, service, subscriber, tier, plan, start_at, expires_at,"                   \
    " to_char(created_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS created,"                           \
    " to_char(updated_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS updated"                            \
    " FROM subscriptions.subscription_v1"

static const struct pg_stmt page_stmt = {
    "admin_subs_page", "SELECT " COLUMNS " WHERE id > $1 AND ($2 = '' OR state = $2)"
                       " AND ($3 = '' OR service = $3) AND ($4 = '' OR subscriber = $4)"
                       " ORDER BY id LIMIT $5"};
static const struct pg_stmt get_stmt = {"admin_subs_get", "SELECT " COLUMNS " WHERE id = $1"};

static json_t *record_json(const PGresult *rows, int row)
{
    char start[32], expiry[32];
    clock_rfc3339(pg_int(rows, row, "start_at"), start);
    clock_rfc3339(pg_int(rows, row, "expires_at"), expiry);
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s}", "id",
                     pg_text(rows, row, "id"), "version", (json_int_t)pg_int(rows, row, "version"),
                     "state", pg_text(rows, row, "state"), "service", pg_text(rows, row, "service"),
                     "subscriber", pg_text(rows, row, "subscriber"), "tier",
                     pg_text(rows, row, "tier"), "plan", (json_int_t)pg_int(rows, row, "plan"),
                     "start_at", start, "expires_at", expiry, "created_at",
                     pg_text(rows, row, "created"), "updated_at", pg_text(rows, row, "updated"));
}

int subs_page(struct pg_conn *conn, const struct subs_filter *filter, json_t **out, bool *more,
              struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    struct pg_num limit = pg_num(filter->limit + 1);
    if (pg_run(
            conn, &page_stmt,
            PG_PARAMS(filter->after, filter->state, filter->service, filter->subscriber, limit.s),
            &rows, err) != 0)
        return -1;
    *more = PQntuples(rows) > filter->limit;
    *out = json_array();
    for (int i = 0; i < PQntuples(rows) && i < filter->limit; i++)
        json_array_append_new(*out, record_json(rows, i));
    return 0;
}

int subs_get(struct pg_conn *conn, const char *id, json_t **out, struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    if (pg_run(conn, &get_stmt, PG_PARAMS(id), &rows, err) != 0)
        return -1;
    *out = PQntuples(rows) == 1 ? record_json(rows, 0) : NULL;
    return 0;
}
