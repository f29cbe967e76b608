/* One statement, in the tree's order of locks: leases, then quotas. */
#include "services/subd/leases.h"

#define LEFT(kind)                                                                                 \
    " lease_held(l.granted_" kind ", l.used_" kind ", false)"                                      \
    " - lease_held(l.granted_" kind ", l.used_" kind ", true) AS " kind
#define GIVE(kind) " granted_" kind " = q.granted_" kind " - g." kind

static const struct pg_stmt close_stmt = {
    "leases_close",
    "WITH o AS (SELECT id FROM lease WHERE journal = $1 AND id > $2::bigint AND NOT closed"
    " ORDER BY id FOR UPDATE),"
    " l AS (UPDATE lease l SET closed = true FROM o WHERE l.id = o.id"
    " RETURNING l.subscription, l.quota_period," LEFT("requests") "," LEFT("bytes") "," LEFT(
        "messages") "," LEFT("cost") "),"
                                     " g AS (SELECT subscription, quota_period, sum(requests) AS "
                                     "requests, sum(bytes) AS bytes,"
                                     " sum(messages) AS messages, sum(cost) AS cost FROM l GROUP "
                                     "BY subscription, quota_period)"
                                     " UPDATE quota q SET" GIVE("requests") "," GIVE(
                                         "bytes") "," GIVE("messages") "," GIVE("cost") " FROM g "
                                                                                        "WHERE "
                                                                                        "q."
                                                                                        "subscripti"
                                                                                        "on = "
                                                                                        "g."
                                                                                        "subscripti"
                                                                                        "on AND "
                                                                                        "q.period "
                                                                                        "= "
                                                                                        "g.quota_"
                                                                                        "period"};

int leases_close(struct pg_conn *conn, const char *journal, int64_t last, struct err *err)
{
    return pg_run(conn, &close_stmt, PG_PARAMS(journal, pg_num(last).s), NULL, err);
}
