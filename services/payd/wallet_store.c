/* The statements of the wallet. Each write names the state that it leaves, so that what another
 * instance or a repeated turn did in between is never overwritten. */
#include "services/payd/wallet_store.h"

#include "services/payd/events.h"

#include <stdio.h>
#include <string.h>

#define AWAY_MS 1000

static const struct pg_stmt epoch_hold = {
    "wallet_epoch", "SELECT FROM follower WHERE id = $1 AND epoch = $2 FOR SHARE"};
static const struct pg_stmt counts_stmt = {
    "wallet_counts",
    "SELECT state, count(*) AS count, count(*) FILTER (WHERE state IN ('sent', 'mined') OR next_at "
    "<= clock_timestamp()) AS open, coalesce(extract(epoch FROM clock_timestamp() - "
    "min(created_at))::bigint, 0) AS age FROM wallet_job WHERE follower = $1 AND state <> 'done' "
    "GROUP BY state"};
static const struct pg_stmt chain_stmt = {
    "wallet_chain", "SELECT cursor_number, confirmed_number FROM follower WHERE id = $1"};
static const struct pg_stmt jobs_stmt = {
    "wallet_jobs",
    "SELECT id, kind, state, key, target, data, attempts, refusals, address, nonce, tx_hash, "
    "block_number, "
    "block_hash, reverted, (extract(epoch FROM clock_timestamp() - mined_at) * 1000)::bigint AS "
    "mined_ms, next_at <= clock_timestamp() AS due FROM wallet_job WHERE follower = $1 AND state = "
    "$2::text AND ($2::text <> 'queued' OR next_at <= clock_timestamp()) ORDER BY nonce, next_at, "
    "id LIMIT $3"};
/* Waiting counts from when a node took it, or else from its first try; never from before its block
 * left the chain. */
static const struct pg_stmt attempts_stmt = {
    "wallet_attempts",
    "SELECT t.attempt, t.hash, t.raw, t.max_fee, t.priority_fee, t.gas, (extract(epoch FROM "
    "clock_timestamp() - greatest(coalesce(t.sent_at, CASE WHEN t.sends > 0 THEN t.created_at "
    "ELSE clock_timestamp() END), CASE WHEN j.nonce = t.nonce THEN j.sent_since END)) * "
    "1000)::bigint AS age_ms FROM wallet_tx t JOIN wallet_job j ON j.id = t.job WHERE t.follower = "
    "$1 AND t.address = $2 AND t.nonce = $3 ORDER BY t.attempt DESC LIMIT 500"};
static const struct pg_stmt next_stmt = {
    "wallet_next",
    "SELECT min(n) AS nonce FROM (SELECT $3::bigint AS n UNION ALL SELECT nonce + 1 FROM wallet_tx "
    "WHERE follower = $1 AND address = $2 AND nonce >= $3::bigint) c WHERE NOT EXISTS (SELECT FROM "
    "wallet_tx t WHERE t.follower = $1 AND t.address = $2 AND t.nonce = c.n)"};
static const struct pg_stmt dead_stmt = {
    "wallet_dead",
    "SELECT FROM wallet_job WHERE follower = $1 AND address = $2 AND nonce >= $3 AND state IN "
    "('mined', 'done', 'failed') AND block_number <= $4 LIMIT 1"};
static const struct pg_stmt revive_stmt = {
    "wallet_revive",
    "UPDATE wallet_job SET state = 'sent', error = NULL, tx_hash = NULL, block_number = NULL, "
    "block_hash = NULL, reverted = NULL, mined_at = NULL, sent_since = clock_timestamp(), "
    "updated_at = clock_timestamp(), next_at "
    "= clock_timestamp() WHERE follower = $1 AND address = $2 AND nonce >= $3 AND state IN "
    "('mined', 'done', 'failed') AND block_number <= $4 RETURNING id"};
static const struct pg_stmt strays_stmt = {
    "wallet_strays",
    "SELECT DISTINCT t.nonce FROM wallet_tx t JOIN wallet_job j ON j.id = t.job WHERE t.follower = "
    "$1 AND t.address = $2 AND t.nonce >= $3 AND j.nonce IS DISTINCT FROM t.nonce ORDER BY t.nonce "
    "LIMIT $4"};
/* Rounded up, and a nonce's transactions as their dearest, as the signer counts. What a clock that
 * was set back has left in the future counts for nothing. */
static const struct pg_stmt spent_stmt = {
    "wallet_spent",
    "SELECT least(coalesce(sum(most) FILTER (WHERE nonce <> $3), 0), 9e18)::bigint AS others, "
    "least(coalesce(max(most) FILTER (WHERE nonce = $3), 0), 9e18)::bigint AS own FROM (SELECT "
    "nonce, max(ceil(gas::numeric * max_fee / 1000000000)) AS most FROM wallet_tx WHERE follower = "
    "$1 AND address = $2 AND created_at > clock_timestamp() - interval '1 hour' AND created_at <= "
    "clock_timestamp() GROUP BY nonce) s"};
static const struct pg_stmt returned_stmt = {
    "wallet_returned",
    "SELECT EXISTS (SELECT FROM transfer t JOIN follower f ON f.id = t.follower WHERE t.follower = "
    "$1 AND t.id = $2 AND t.state = 'refunded' AND t.refund_block <= f.confirmed_number) AS "
    "returned"};
static const struct pg_stmt tx_add = {
    "wallet_tx_add",
    "INSERT INTO wallet_tx (follower, address, nonce, attempt, job, hash, raw, max_fee, "
    "priority_fee, gas, epoch) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"};
static const struct pg_stmt job_signed = {
    "wallet_signed",
    "UPDATE wallet_job SET state = 'sent', address = $4, nonce = $5, sent_since = "
    "clock_timestamp(), error = NULL, attempts = 0, "
    "updated_at = clock_timestamp(), next_at = clock_timestamp() WHERE id = $1 AND follower = $2 "
    "AND state = $3 AND (state = 'queued' OR nonce = $5) RETURNING id"};
static const struct pg_stmt tx_sent = {
    "wallet_tx_sent",
    "UPDATE wallet_tx SET sends = sends + 1, answer = nullif($2::text, ''), sent_at = "
    "coalesce(sent_at, CASE WHEN $2::text = '' THEN clock_timestamp() END) WHERE hash = $1"};
static const struct pg_stmt job_wait = {
    "wallet_wait",
    "UPDATE wallet_job SET attempts = attempts + 1, refusals = CASE WHEN $6::boolean THEN refusals "
    "+ 1 WHEN state = 'queued' THEN 0 ELSE refusals END, error = nullif($4::text, ''), "
    "updated_at = clock_timestamp(), next_at = clock_timestamp() + $5::bigint * interval '1 "
    "millisecond' WHERE id = $1 AND follower = $2 AND state = $3 RETURNING id"};
static const struct pg_stmt job_mined = {
    "wallet_mined",
    "UPDATE wallet_job SET state = 'mined', tx_hash = $4, block_number = $5, block_hash = $6, "
    "reverted = $7, mined_at = clock_timestamp(), attempts = 0, error = NULL, updated_at = "
    "clock_timestamp() WHERE id = $1 AND follower = $2 AND state = $3 RETURNING id"};
static const struct pg_stmt job_unmined = {
    "wallet_unmined",
    "UPDATE wallet_job SET state = 'sent', tx_hash = NULL, block_number = NULL, block_hash = NULL, "
    "reverted = NULL, mined_at = NULL, sent_since = clock_timestamp(), attempts = 0, updated_at = "
    "clock_timestamp(), next_at = "
    "clock_timestamp() WHERE id = $1 AND follower = $2 AND state = $3 RETURNING id"};
static const struct pg_stmt job_lost = {
    "wallet_lost",
    "UPDATE wallet_job SET state = 'queued', nonce = NULL, address = NULL, attempts = 0, "
    "lost_nonces = lost_nonces + 1, updated_at = clock_timestamp(), next_at = clock_timestamp() "
    "WHERE id = $1 AND follower = $2 AND state = $3 RETURNING id"};
static const struct pg_stmt job_reverted = {
    "wallet_reverted",
    "UPDATE wallet_job SET state = 'queued', nonce = NULL, address = NULL, tx_hash = NULL, "
    "block_number = NULL, block_hash = NULL, reverted = NULL, mined_at = NULL, attempts = 0, "
    "refusals = refusals + 1, error = 'its transaction reverted', updated_at = clock_timestamp(), "
    "next_at = clock_timestamp() + $4::bigint * interval '1 millisecond' WHERE id = $1 AND "
    "follower = $2 AND state = $3 RETURNING id"};
static const struct pg_stmt job_over = {
    "wallet_over", "UPDATE wallet_job SET state = $4, error = nullif($5::text, ''), updated_at = "
                   "clock_timestamp() WHERE id = $1 AND follower = $2 AND state = $3 RETURNING id"};

void wallet_attempts_clear(struct wallet_attempts *attempts)
{
    for (size_t i = 0; i < attempts->count; i++)
        free(attempts->items[i].raw);
    free(attempts->items);
    *attempts = (struct wallet_attempts){0};
}

static struct pg_num follower(const struct wallet_store *store)
{
    return pg_num(atomic_load(&store->payd->follower));
}

static int read_rows(struct wallet_store *store, const struct pg_stmt *stmt,
                     const char *const *params, int count, PGresult **out, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (pg_acquire(store->payd->pg, AWAY_MS, &conn, err) != 0)
        return -1;
    return pg_run(conn, stmt, params, count, out, err);
}

int wallet_store_counts(struct wallet_store *store, struct wallet_counts *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    *out = (struct wallet_counts){0};
    if (read_rows(store, &counts_stmt, PG_PARAMS(follower(store).s), &rows, err) != 0)
        return -1;
    for (int row = 0; row < PQntuples(rows); row++) {
        enum wallet_job_state state;
        if (wallet_job_state_parse(pg_text(rows, row, "state"), &state) != 0)
            continue;
        out->jobs[state] = pg_int(rows, row, "count");
        if (state == WALLET_JOB_FAILED)
            continue;
        out->open += pg_int(rows, row, "open");
        if (pg_int(rows, row, "age") > out->oldest_s)
            out->oldest_s = pg_int(rows, row, "age");
    }
    return 0;
}

int wallet_store_chain(struct wallet_store *store, struct wallet_chain *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    *out = (struct wallet_chain){-1, -1};
    if (read_rows(store, &chain_stmt, PG_PARAMS(follower(store).s), &rows, err) != 0)
        return -1;
    if (PQntuples(rows) == 1) {
        out->cursor = pg_int(rows, 0, "cursor_number");
        out->confirmed = pg_int(rows, 0, "confirmed_number");
    }
    return 0;
}

#define COPY(field, column)                                                                        \
    snprintf(out->field, sizeof(out->field), "%s", pg_text(rows, row, column))

static int row_read(const PGresult *rows, int row, struct wallet_row *out, struct err *err)
{
    out->id = pg_int(rows, row, "id");
    COPY(key, "key");
    COPY(target, "target");
    COPY(data, "data");
    COPY(address, "address");
    COPY(tx_hash, "tx_hash");
    COPY(block_hash, "block_hash");
    out->attempts = pg_int(rows, row, "attempts");
    out->refusals = pg_int(rows, row, "refusals");
    out->nonce = pg_int(rows, row, "nonce");
    out->block = pg_int(rows, row, "block_number");
    out->reverted = pg_bool(rows, row, "reverted");
    out->mined_ms = pg_int(rows, row, "mined_ms");
    out->due = pg_bool(rows, row, "due");
    if (wallet_job_kind_parse(pg_text(rows, row, "kind"), &out->kind) != 0 ||
        wallet_job_state_parse(pg_text(rows, row, "state"), &out->state) != 0)
        return err_set(err, "wallet job %s: kind or state is not one we know", out->key);
    return 0;
}

int wallet_store_jobs(struct wallet_store *store, enum wallet_job_state state, int64_t max,
                      struct wallet_row **rows_out, size_t *count, struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    *rows_out = NULL;
    *count = 0;
    if (read_rows(store, &jobs_stmt,
                  PG_PARAMS(follower(store).s, wallet_job_state_name(state), pg_num(max).s), &rows,
                  err) != 0)
        return -1;
    AUTO_FREE struct wallet_row *list = mem_array((size_t)PQntuples(rows) + 1, sizeof(*list));
    for (int row = 0; row < PQntuples(rows); row++) {
        if (row_read(rows, row, &list[row], err) != 0)
            return -1;
    }
    *count = (size_t)PQntuples(rows);
    *rows_out = MEM_STEAL(list);
    return 0;
}

int wallet_store_attempts(struct wallet_store *store, const char *address, int64_t nonce,
                          struct wallet_attempts *attempts, struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    *attempts = (struct wallet_attempts){0};
    if (read_rows(store, &attempts_stmt, PG_PARAMS(follower(store).s, address, pg_num(nonce).s),
                  &rows, err) != 0)
        return -1;
    if (PQntuples(rows) == 0)
        return err_set(err, "no transaction is kept for nonce %lld", (long long)nonce);
    attempts->items = mem_array((size_t)PQntuples(rows), sizeof(*attempts->items));
    for (int row = 0; row < PQntuples(rows); row++) {
        struct wallet_attempt *out = &attempts->items[attempts->count++];
        COPY(hash, "hash");
        out->raw = mem_strdup(pg_text(rows, row, "raw"));
        out->attempt = pg_int(rows, row, "attempt");
        out->fees = (struct fees){pg_int(rows, row, "max_fee"), pg_int(rows, row, "priority_fee")};
        out->gas = pg_int(rows, row, "gas");
        out->age_ms = pg_int(rows, row, "age_ms");
    }
    return 0;
}

int wallet_store_next(struct wallet_store *store, const char *address, int64_t from, int64_t *out,
                      struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    if (read_rows(store, &next_stmt, PG_PARAMS(follower(store).s, address, pg_num(from).s), &rows,
                  err) != 0)
        return -1;
    *out = pg_int(rows, 0, "nonce");
    return 0;
}

int wallet_store_spent(struct wallet_store *store, const char *address, int64_t nonce,
                       struct wallet_spent *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    if (read_rows(store, &spent_stmt, PG_PARAMS(follower(store).s, address, pg_num(nonce).s), &rows,
                  err) != 0)
        return -1;
    *out = (struct wallet_spent){pg_int(rows, 0, "others"), pg_int(rows, 0, "own")};
    return 0;
}

int wallet_store_returned(struct wallet_store *store, const char *transfer, bool *returned,
                          struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    if (read_rows(store, &returned_stmt, PG_PARAMS(follower(store).s, transfer), &rows, err) != 0)
        return -1;
    *returned = pg_bool(rows, 0, "returned");
    return 0;
}

int wallet_store_strays(struct wallet_store *store, const char *address, int64_t latest,
                        int64_t max, int64_t **nonces, size_t *count, struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    *nonces = NULL;
    *count = 0;
    if (read_rows(store, &strays_stmt,
                  PG_PARAMS(follower(store).s, address, pg_num(latest).s, pg_num(max).s), &rows,
                  err) != 0)
        return -1;
    *nonces = mem_array((size_t)PQntuples(rows) + 1, sizeof(**nonces));
    for (int row = 0; row < PQntuples(rows); row++)
        (*nonces)[(*count)++] = pg_int(rows, row, "nonce");
    return 0;
}

/* A transaction whose first act is to hold the epoch. */
static int begin(struct wallet_store *store, struct pg_conn **conn, struct err *err)
{
    AUTO_PG_RESULT PGresult *held = NULL;
    if (pg_acquire(store->payd->pg, AWAY_MS, conn, err) != 0 || pg_begin(*conn, err) != 0 ||
        pg_run(*conn, &epoch_hold, PG_PARAMS(follower(store).s, pg_num(store->epoch).s), &held,
               err) != 0)
        return -1;
    if (PQntuples(held) != 1)
        return err_set(err, "epoch %lld is over: another leader has taken over",
                       (long long)store->epoch);
    return 0;
}

/* One row must have changed. */
static int change(struct pg_conn *conn, const struct pg_stmt *stmt, const char *const *params,
                  int count, struct err *err)
{
    AUTO_PG_RESULT PGresult *changed = NULL;
    if (pg_run(conn, stmt, params, count, &changed, err) != 0)
        return -1;
    if (PQntuples(changed) != 1)
        return err_set(err, "the wallet's job has moved on");
    return 0;
}

/* What is not committed is rolled back with the session's release. */
static int change_alone(struct wallet_store *store, const struct pg_stmt *stmt,
                        const char *const *params, int count, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (begin(store, &conn, err) != 0 || change(conn, stmt, params, count, err) != 0)
        return -1;
    return pg_commit(conn, err);
}

#define ROW_PARAMS(...)                                                                            \
    PG_PARAMS(pg_num(row->id).s, follower(store).s, wallet_job_state_name(row->state), __VA_ARGS__)

int wallet_store_revive(struct wallet_store *store, const char *address, int64_t latest,
                        int64_t head, int64_t *count, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    AUTO_PG_RESULT PGresult *dead = NULL;
    AUTO_PG_RESULT PGresult *rows = NULL;
    struct pg_num at = pg_num(latest), top = pg_num(head);
    *count = 0;
    if (read_rows(store, &dead_stmt, PG_PARAMS(follower(store).s, address, at.s, top.s), &dead,
                  err) != 0)
        return -1;
    if (PQntuples(dead) == 0)
        return 0;
    if (begin(store, &conn, err) != 0 ||
        pg_run(conn, &revive_stmt, PG_PARAMS(follower(store).s, address, at.s, top.s), &rows,
               err) != 0)
        return -1;
    *count = PQntuples(rows);
    return pg_commit(conn, err);
}

int wallet_store_sign(struct wallet_store *store, const struct wallet_row *row,
                      const struct wallet_signed *tx, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (begin(store, &conn, err) != 0 ||
        pg_run(conn, &tx_add,
               PG_PARAMS(follower(store).s, tx->address, pg_num(tx->nonce).s, pg_num(tx->attempt).s,
                         pg_num(row->id).s, tx->hash, tx->raw, pg_num(tx->fees.max_fee).s,
                         pg_num(tx->fees.priority_fee).s, pg_num(tx->gas).s,
                         pg_num(store->epoch).s),
               NULL, err) != 0 ||
        change(conn, &job_signed, ROW_PARAMS(tx->address, pg_num(tx->nonce).s), err) != 0)
        return -1;
    return pg_commit(conn, err);
}

int wallet_store_sent(struct wallet_store *store, const struct wallet_row *row, const char *hash,
                      const char *answer, int64_t next_ms, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    const char *words = answer == NULL ? "" : answer;
    if (begin(store, &conn, err) != 0 ||
        pg_run(conn, &tx_sent, PG_PARAMS(hash, words), NULL, err) != 0 ||
        change(conn, &job_wait, ROW_PARAMS(words, pg_num(next_ms).s, "f"), err) != 0)
        return -1;
    return pg_commit(conn, err);
}

int wallet_store_wait(struct wallet_store *store, const struct wallet_row *row, const char *why,
                      int64_t next_ms, struct err *err)
{
    return change_alone(store, &job_wait, ROW_PARAMS(why, pg_num(next_ms).s, "f"), err);
}

int wallet_store_refused(struct wallet_store *store, const struct wallet_row *row, const char *why,
                         int64_t next_ms, struct err *err)
{
    return change_alone(store, &job_wait, ROW_PARAMS(why, pg_num(next_ms).s, "t"), err);
}

int wallet_store_mined(struct wallet_store *store, const struct wallet_row *row, const char *hash,
                       const struct wallet_receipt *receipt, struct err *err)
{
    return change_alone(store, &job_mined,
                        ROW_PARAMS(hash, pg_num(receipt->block).s, receipt->block_hash,
                                   receipt->reverted ? "t" : "f"),
                        err);
}

int wallet_store_unmined(struct wallet_store *store, const struct wallet_row *row, struct err *err)
{
    return change_alone(
        store, &job_unmined,
        PG_PARAMS(pg_num(row->id).s, follower(store).s, wallet_job_state_name(row->state)), err);
}

int wallet_store_reverted(struct wallet_store *store, const struct wallet_row *row, int64_t next_ms,
                          struct err *err)
{
    return change_alone(store, &job_reverted, ROW_PARAMS(pg_num(next_ms).s), err);
}

int wallet_store_lost(struct wallet_store *store, const struct wallet_row *row, struct err *err)
{
    return change_alone(
        store, &job_lost,
        PG_PARAMS(pg_num(row->id).s, follower(store).s, wallet_job_state_name(row->state)), err);
}

static int failure_tell(struct pg_conn *conn, struct wallet_store *store,
                        const struct wallet_row *row, const char *why, struct err *err)
{
    if (row->kind != WALLET_JOB_REFUND && row->kind != WALLET_JOB_REFUND_TRANSFER)
        return 0;
    json_t *data = json_pack("{s:s, s:s, s:s}", "kind", wallet_job_kind_name(row->kind), "target",
                             row->target, "reason", why);
    if (row->tx_hash[0] != '\0')
        json_object_set_new(data, "tx_hash", json_string(row->tx_hash));
    return event_put(conn, atomic_load(&store->payd->follower), EVENTS_REFUND_FAILED, row->target,
                     data, err);
}

int wallet_store_over(struct wallet_store *store, const struct wallet_row *row,
                      enum wallet_job_state state, const char *why, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    const char *words = why == NULL ? "" : why;
    if (begin(store, &conn, err) != 0 ||
        change(conn, &job_over, ROW_PARAMS(wallet_job_state_name(state), words), err) != 0 ||
        (state == WALLET_JOB_FAILED && failure_tell(conn, store, row, words, err) != 0))
        return -1;
    return pg_commit(conn, err);
}
