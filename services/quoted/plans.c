/* A plan is found by its whole content, whatever its version: limits that come back, and replicas
 * that run an old and a new price book side by side while one is rolled out, must not use up
 * numbers, of which there are 65535 for ever. */
#include "services/quoted/plans.h"

#include "libcommon/eth/hex.h"
#include "libcommon/log.h"

static const struct pg_stmt lock_stmt = {"quoted_lock",
                                         "LOCK TABLE plan, price_book IN SHARE ROW EXCLUSIVE MODE"};

static const struct pg_stmt find_stmt = {
    "quoted_plan_find",
    "SELECT id, version FROM plan WHERE tier = $1 AND period_seconds = $2 AND rate = $3"
    " AND burst = $4 AND requests = $5 AND bytes = $6 AND messages = $7 AND cost = $8"
    " AND bandwidth = $9 AND requests_per_day = $10 ORDER BY version DESC LIMIT 1"};

static const struct pg_stmt add_stmt = {
    "quoted_plan_add",
    "INSERT INTO plan (id, tier, version, period_seconds, rate, burst, requests, bytes, messages,"
    " cost, bandwidth, requests_per_day) SELECT coalesce((SELECT max(id) FROM plan), 0) + 1, $1,"
    " coalesce((SELECT max(version) FROM plan WHERE tier = $1), 0) + 1, $2, $3, $4, $5, $6, $7, $8,"
    " $9, $10 RETURNING id, version"};

static const struct pg_stmt service_stmt = {
    "quoted_service_add",
    "INSERT INTO service (service_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING"};

static const struct pg_stmt book_stmt = {
    "quoted_book_add",
    "INSERT INTO price_book (version, content) SELECT $1, $2::json WHERE NOT EXISTS"
    " (SELECT FROM (SELECT version FROM price_book ORDER BY id DESC LIMIT 1) AS last"
    " WHERE last.version = $1)"};

static void take(struct pricebook_tier *tier, const PGresult *row)
{
    tier->plan = (uint16_t)pg_int(row, 0, "id");
    tier->plan_version = pg_int(row, 0, "version");
}

static int sync_tier(struct pg_conn *conn, struct pricebook_tier *tier, struct err *err)
{
    const struct pricebook_limits *l = &tier->limits;
    struct pg_num n[] = {pg_num(tier->period_s), pg_num(l->rate),      pg_num(l->burst),
                         pg_num(l->requests),    pg_num(l->bytes),     pg_num(l->messages),
                         pg_num(l->cost),        pg_num(l->bandwidth), pg_num(l->requests_per_day)};
    const char *values[] = {tier->name, n[0].s, n[1].s, n[2].s, n[3].s,
                            n[4].s,     n[5].s, n[6].s, n[7].s, n[8].s};
    AUTO_PG_RESULT PGresult *found = NULL;
    AUTO_PG_RESULT PGresult *added = NULL;
    if (pg_run(conn, &find_stmt, values, ARRAY_LEN(values), &found, err) != 0)
        return -1;
    if (PQntuples(found) > 0) {
        take(tier, found);
        return 0;
    }
    if (pg_run(conn, &add_stmt, values, ARRAY_LEN(values), &added, err) != 0)
        return err_wrap(err, "plan of tier %s", tier->name);
    take(tier, added);
    log_info("new plan", LOG_STR(TIER, tier->name), LOG_INT(VERSION, tier->plan_version),
             LOG_INT(PLAN, tier->plan));
    return 0;
}

static int sync_services(struct pg_conn *conn, const struct pricebook *book, struct err *err)
{
    for (size_t i = 0; i < book->service_count; i++) {
        char id[67];
        word_hex(&book->services[i].id, id);
        if (pg_run(conn, &service_stmt, PG_PARAMS(id, book->services[i].name), NULL, err) != 0)
            return -1;
    }
    return 0;
}

static int sync_all(struct pg_conn *conn, struct pricebook *book, struct err *err)
{
    if (pg_run(conn, &lock_stmt, NULL, 0, NULL, err) != 0)
        return -1;
    for (size_t i = 0; i < book->tier_count; i++)
        if (sync_tier(conn, &book->tiers[i], err) != 0)
            return -1;
    if (sync_services(conn, book, err) != 0)
        return -1;
    return pg_run(conn, &book_stmt, PG_PARAMS(book->version, book->pricing), NULL, err);
}

int plans_sync(struct pg_conn *conn, struct pricebook *book, struct err *err)
{
    if (pg_begin(conn, err) != 0)
        return -1;
    if (sync_all(conn, book, err) == 0 && pg_commit(conn, err) == 0)
        return 0;
    pg_rollback(conn);
    return -1;
}
