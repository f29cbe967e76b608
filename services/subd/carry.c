/* Four statements, in the tree's order of locks: leases, then quotas by period. */
#include "services/subd/carry.h"

static const struct pg_stmt lock_leases = {
    "carry_leases", "SELECT 1 FROM lease WHERE subscription = $1 AND quota_period = $2"
                    " AND NOT closed ORDER BY id FOR UPDATE"};
static const struct pg_stmt lock_quotas = {
    "carry_quotas", "SELECT 1 FROM quota WHERE subscription = $1"
                    " AND period IN ($2::bigint, $3::bigint) ORDER BY period FOR UPDATE"};
static const struct pg_stmt copy_quota = {
    "carry_copy",
    "INSERT INTO quota AS q (subscription, period, granted_requests, granted_bytes,"
    " granted_messages, granted_cost, used_requests, used_bytes, used_messages, used_cost)"
    " SELECT subscription, $3::bigint, granted_requests, granted_bytes, granted_messages,"
    " granted_cost, used_requests, used_bytes, used_messages, used_cost"
    " FROM quota WHERE subscription = $1 AND period = $2::bigint"
    " ON CONFLICT (subscription, period) DO UPDATE SET"
    " granted_requests = greatest(q.granted_requests, excluded.granted_requests),"
    " granted_bytes = greatest(q.granted_bytes, excluded.granted_bytes),"
    " granted_messages = greatest(q.granted_messages, excluded.granted_messages),"
    " granted_cost = greatest(q.granted_cost, excluded.granted_cost),"
    " used_requests = greatest(q.used_requests, excluded.used_requests),"
    " used_bytes = greatest(q.used_bytes, excluded.used_bytes),"
    " used_messages = greatest(q.used_messages, excluded.used_messages),"
    " used_cost = greatest(q.used_cost, excluded.used_cost)"};
static const struct pg_stmt settle_old = {
    "carry_settle", "UPDATE quota SET granted_requests = used_requests, granted_bytes = used_bytes,"
                    " granted_messages = used_messages, granted_cost = used_cost"
                    " WHERE subscription = $1 AND period = $2"};
static const struct pg_stmt move_leases = {
    "carry_move", "UPDATE lease SET quota_period = $3"
                  " WHERE subscription = $1 AND quota_period = $2 AND NOT closed"};

int carry_quota(struct pg_conn *conn, const char *subscription, int64_t from, int64_t to,
                struct err *err)
{
    struct pg_num old = pg_num(from), new = pg_num(to);
    if (pg_run(conn, &lock_leases, PG_PARAMS(subscription, old.s), NULL, err) ||
        pg_run(conn, &lock_quotas, PG_PARAMS(subscription, old.s, new.s), NULL, err) ||
        pg_run(conn, &copy_quota, PG_PARAMS(subscription, old.s, new.s), NULL, err) ||
        pg_run(conn, &settle_old, PG_PARAMS(subscription, old.s), NULL, err))
        return -1;
    return pg_run(conn, &move_leases, PG_PARAMS(subscription, old.s, new.s), NULL, err);
}
