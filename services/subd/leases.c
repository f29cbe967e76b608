/* One statement, in the tree's order of locks: leases, then quotas, then days. */
#include "services/subd/leases.h"

/* The days are asked what the quotas did, so that they come after them. */
static const struct pg_stmt close_stmt = {
    "leases_close",
    "WITH o AS (SELECT id FROM lease WHERE journal = $1 AND id > $2::bigint AND NOT closed"
    " ORDER BY id FOR UPDATE),"
    " l AS (UPDATE lease l SET closed = true FROM o WHERE l.id = o.id"
    " RETURNING l.subscription, l.quota_period, l.day,"
    " lease_held(l.granted_requests, l.used_requests, false)"
    " - lease_held(l.granted_requests, l.used_requests, true) AS requests,"
    " lease_held(l.granted_bytes, l.used_bytes, false)"
    " - lease_held(l.granted_bytes, l.used_bytes, true) AS bytes,"
    " lease_held(l.granted_messages, l.used_messages, false)"
    " - lease_held(l.granted_messages, l.used_messages, true) AS messages,"
    " lease_held(l.granted_cost, l.used_cost, false)"
    " - lease_held(l.granted_cost, l.used_cost, true) AS cost),"
    " g AS (SELECT subscription, quota_period, sum(requests) AS requests, sum(bytes) AS bytes,"
    " sum(messages) AS messages, sum(cost) AS cost FROM l GROUP BY subscription, quota_period),"
    " q AS (UPDATE quota q SET granted_requests = q.granted_requests - g.requests,"
    " granted_bytes = q.granted_bytes - g.bytes,"
    " granted_messages = q.granted_messages - g.messages,"
    " granted_cost = q.granted_cost - g.cost"
    " FROM g WHERE q.subscription = g.subscription AND q.period = g.quota_period"
    " RETURNING q.subscription),"
    " d AS (SELECT subscription, day, sum(requests) AS requests FROM l GROUP BY subscription, day)"
    " UPDATE quota_day q SET granted_requests = q.granted_requests - d.requests"
    " FROM d WHERE q.subscription = d.subscription AND q.day = d.day"
    " AND (SELECT count(*) FROM q) >= 0"};

int leases_close(struct pg_conn *conn, const char *journal, int64_t last, struct err *err)
{
    return pg_run(conn, &close_stmt, PG_PARAMS(journal, pg_num(last).s), NULL, err);
}
