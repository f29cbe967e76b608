/* The rows of wallet_job as those see them who ask for something. The engine that works them off is
 * wallet.c; both agree only on the table. */
#include "services/payd/wallet_job.h"

#include "libcommon/eth/hex.h"

#include <string.h>

static const char *const kinds[WALLET_JOB_KINDS] = {
    [WALLET_JOB_REFUND] = "refund",     [WALLET_JOB_REFUND_TRANSFER] = "refund-transfer",
    [WALLET_JOB_REVOKE] = "revoke",     [WALLET_JOB_UNREVOKE] = "unrevoke",
    [WALLET_JOB_WITHDRAW] = "withdraw", [WALLET_JOB_WITHDRAW_FEES] = "withdraw-fees",
};
static const char *const states[WALLET_JOB_STATES] = {
    [WALLET_JOB_QUEUED] = "queued", [WALLET_JOB_SENT] = "sent",     [WALLET_JOB_MINED] = "mined",
    [WALLET_JOB_DONE] = "done",     [WALLET_JOB_FAILED] = "failed",
};

static const struct pg_stmt add_stmt = {
    "wallet_job_add",
    "INSERT INTO wallet_job AS j (follower, key, kind, target, data, actor, reason) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (follower, key) DO UPDATE SET "
    "state = 'queued', created_at = clock_timestamp(), kind = excluded.kind, target = "
    "excluded.target, data = excluded.data, "
    "actor = excluded.actor, reason = excluded.reason, error = NULL, attempts = 0, refusals = 0, "
    "nonce = NULL, "
    "tx_hash = NULL, block_number = NULL, block_hash = NULL, reverted = NULL, mined_at = NULL, "
    "updated_at = clock_timestamp(), next_at = clock_timestamp() WHERE j.state = 'failed' "
    "OR (j.state = 'done' AND $8::boolean) RETURNING id"};
static const struct pg_stmt find_stmt = {
    "wallet_job_find",
    "SELECT j.id, j.state, j.error, coalesce(j.tx_hash, (SELECT t.hash FROM wallet_tx t WHERE "
    "t.job = j.id AND t.nonce = j.nonce ORDER BY t.attempt DESC LIMIT 1)) AS hash "
    "FROM wallet_job j WHERE j.follower = $1 AND j.key = $2"};

static int name_parse(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return -1;
}

const char *wallet_job_kind_name(enum wallet_job_kind kind)
{
    return kinds[kind];
}

int wallet_job_kind_parse(const char *name, enum wallet_job_kind *out)
{
    int found = name_parse(kinds, WALLET_JOB_KINDS, name);
    *out = found < 0 ? WALLET_JOB_REFUND : (enum wallet_job_kind)found;
    return found < 0 ? -1 : 0;
}

const char *wallet_job_state_name(enum wallet_job_state state)
{
    return states[state];
}

int wallet_job_state_parse(const char *name, enum wallet_job_state *out)
{
    int found = name_parse(states, WALLET_JOB_STATES, name);
    *out = found < 0 ? WALLET_JOB_FAILED : (enum wallet_job_state)found;
    return found < 0 ? -1 : 0;
}

static int field_check(const char *name, const char *text, size_t max, struct err *err)
{
    size_t len = strlen(text);
    return len >= 1 && len <= max ? 0 : err_set(err, "%s: 1 to %zu bytes", name, max);
}

static int job_check(const struct wallet_job *job, struct err *err)
{
    if (field_check("key", job->key, WALLET_JOB_KEY_MAX, err) != 0 ||
        field_check("target", job->target, WALLET_JOB_KEY_MAX, err) != 0 ||
        field_check("actor", job->actor, WALLET_JOB_TEXT_MAX, err) != 0 ||
        field_check("reason", job->reason, WALLET_JOB_TEXT_MAX, err) != 0)
        return err_wrap(err, "wallet job");
    if (job->data->len < 4 || job->data->len > WALLET_JOB_DATA_MAX)
        return err_set(err, "wallet job: call data has %zu bytes", job->data->len);
    return 0;
}

static int find_row(struct pg_conn *conn, int64_t follower, const char *key, PGresult **out,
                    struct err *err)
{
    return pg_run(conn, &find_stmt, PG_PARAMS(pg_num(follower).s, key), out, err);
}

int wallet_job_add(struct pg_conn *conn, const struct wallet_job *job, int64_t *id, bool *added,
                   struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    AUTO_PG_RESULT PGresult *known = NULL;
    char data[2 * WALLET_JOB_DATA_MAX + 3];
    if (job_check(job, err) != 0)
        return -1;
    hex_encode(job->data->data, job->data->len, data);
    if (pg_run(conn, &add_stmt,
               PG_PARAMS(pg_num(job->follower).s, job->key, wallet_job_kind_name(job->kind),
                         job->target, data, job->actor, job->reason, job->again ? "t" : "f"),
               &row, err) != 0)
        return -1;
    *added = PQntuples(row) == 1;
    if (*added) {
        *id = pg_int(row, 0, "id");
        return 0;
    }
    if (find_row(conn, job->follower, job->key, &known, err) != 0)
        return -1;
    if (PQntuples(known) != 1)
        return err_set(err, "wallet job %s is gone", job->key);
    *id = pg_int(known, 0, "id");
    return 0;
}

int wallet_job_find(struct pg_conn *conn, int64_t follower, const char *key,
                    struct wallet_job_status *out, bool *found, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    *out = (struct wallet_job_status){0};
    *found = false;
    if (find_row(conn, follower, key, &row, err) != 0)
        return -1;
    if (PQntuples(row) != 1)
        return 0;
    *found = true;
    out->id = pg_int(row, 0, "id");
    snprintf(out->tx_hash, sizeof(out->tx_hash), "%s", pg_text(row, 0, "hash"));
    snprintf(out->error, sizeof(out->error), "%s", pg_text(row, 0, "error"));
    if (wallet_job_state_parse(pg_text(row, 0, "state"), &out->state) != 0)
        return err_set(err, "wallet job %s: state is not one we know", key);
    return 0;
}
