/* The one way from a request to wallet_job and back, so that every verb is idempotent in the same
 * manner: a job that is known and has not failed is only told of. */
#include "services/payd/refunds_job.h"

#include "libcommon/log.h"

#include <string.h>

static const struct pg_stmt find_stmt = {
    "refunds_job_find",
    "SELECT state = 'failed' AS failed, state = 'done' AS done, state IN ('failed', 'done') AND "
    "updated_at > clock_timestamp() - interval '" REFUNDS_JOB_RETRY_MIN
    "' AS rests, data FROM wallet_job WHERE follower = $1 AND "
    "key = $2"};

int refunds_job_find(const struct refunds *refunds, const char *key, struct refunds_job *out,
                     struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    *out = (struct refunds_job){0};
    if (pg_run(refunds->conn, &find_stmt, PG_PARAMS(pg_num(refunds->follower).s, key), &row, err) !=
        0)
        return -1;
    out->known = PQntuples(row) == 1;
    if (out->known) {
        out->failed = pg_bool(row, 0, "failed");
        out->done = pg_bool(row, 0, "done");
        out->rests = pg_bool(row, 0, "rests");
        snprintf(out->data, sizeof(out->data), "%s", pg_text(row, 0, "data"));
    }
    return 0;
}

bool refunds_job_begins(const struct refunds_job *job, bool returned)
{
    if (!job->known)
        return true;
    return !returned && (job->failed || (job->done && !job->rests));
}

enum problem refunds_job_add(const struct refunds *refunds, struct wallet_job *job,
                             const char *call, const struct word *words, size_t count,
                             struct err *err)
{
    AUTO_BUF struct buf data = {0};
    int64_t id;
    bool added = false;
    if (!refunds->wallet) {
        err_set(err, "payd has no wallet: neither wallet.keystore nor wallet.mnemonic_file is set");
        return PROBLEM_NO_WALLET;
    }
    abi_call(&data, call, words, count);
    job->follower = refunds->follower;
    job->data = &data;
    int rc = wallet_job_add(refunds->conn, job, &id, &added, err);
    job->data = NULL;
    if (rc != 0)
        return PROBLEM_UNAVAILABLE;
    if (added)
        log_info("asked of the wallet", LOG_STR(NAME, job->key), LOG_STR(ACTOR, job->actor),
                 LOG_STR(REASON, job->reason));
    return PROBLEM_NONE;
}

static json_t *text_or_null(const char *text)
{
    return text[0] == '\0' ? json_null() : json_string(text);
}

enum problem refunds_job_answer(const struct refunds *refunds, const char *key, const char *member,
                                json_t *object, json_t **out, struct err *err)
{
    AUTO_JSON json_t *owned = object;
    struct wallet_job_status status;
    bool found;
    if (wallet_job_find(refunds->conn, refunds->follower, key, &status, &found, err) != 0)
        return PROBLEM_UNAVAILABLE;
    if (!found) {
        err_set(err, "the wallet's job is gone");
        return PROBLEM_UNAVAILABLE;
    }
    json_object_set_new(owned, "state", json_string(wallet_job_state_name(status.state)));
    json_object_set_new(owned, "tx_hash", text_or_null(status.tx_hash));
    json_object_set_new(owned, "error", text_or_null(status.error));
    *out = json_pack("{s:O}", member, owned);
    return PROBLEM_NONE;
}

enum problem refunds_job_end(const struct refunds *refunds, enum problem problem, json_t **out,
                             struct err *err)
{
    if (problem == PROBLEM_NONE && pg_commit(refunds->conn, err) == 0)
        return PROBLEM_NONE;
    pg_rollback(refunds->conn);
    json_cleanup(out);
    *out = NULL;
    return problem == PROBLEM_NONE ? PROBLEM_UNAVAILABLE : problem;
}
