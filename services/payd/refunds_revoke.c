/* Revocation of slots on the chain: an operator's, and those that subd has made, which are read
 * from its published view again and again until the chain has them. */
#include "services/payd/refunds.h"

#include "libcommon/eth/hex.h"
#include "services/payd/refunds_job.h"

#include <string.h>

/* `changes` grows with every change that the chain has seen or the wallet has made, so that each
 * has a key of its own. `open`: kind of the change under way, and its key. */
static const struct pg_stmt slot_stmt = {
    "refunds_slot",
    "SELECT coalesce((SELECT e.revoked FROM slot_event e WHERE e.follower = $1 AND e.subscriber = "
    "$2 AND e.service_id = $3 AND e.kind = 'revoked' ORDER BY e.block_number DESC, e.log_index "
    "DESC LIMIT 1), false) AS revoked, "
    "(SELECT count(*) FROM slot_event e WHERE e.follower = $1 AND e.subscriber = $2 AND "
    "e.service_id = $3 AND e.kind = 'revoked') + (SELECT count(*) FROM wallet_job j WHERE "
    "j.follower = $1 AND j.target = $4 AND j.kind IN ('revoke', 'unrevoke') AND j.state = 'done') "
    "AS changes, o.key AS open_key, o.kind AS open_kind "
    "FROM (SELECT 1) one LEFT JOIN LATERAL (SELECT j.key, j.kind FROM wallet_job j WHERE "
    "j.follower = $1 AND j.target = $4 AND j.kind IN ('revoke', 'unrevoke') AND j.state IN "
    "('queued', 'sent', 'mined') ORDER BY j.id DESC LIMIT 1) o ON true"};
static const struct pg_stmt spread_stmt = {
    "refunds_spread",
    "SELECT subscription, subscriber, service_id FROM revoked_elsewhere($1::int)"};
/* One at a time for each slot. */
static const struct pg_stmt lock_stmt = {"refunds_lock",
                                         "SELECT pg_advisory_xact_lock(hashtextextended($1, 1))"};

static enum problem revoke_add(const struct refunds *refunds, const struct treasury_revoke *request,
                               const char *subscription, const char *key, struct err *err)
{
    struct word words[] = {word_from_address(request->subscriber), request->service_id,
                           word_from_u64(request->revoked ? 1 : 0)};
    struct wallet_job job = {.kind = request->revoked ? WALLET_JOB_REVOKE : WALLET_JOB_UNREVOKE,
                             .key = key,
                             .target = subscription,
                             .actor = request->cause.actor,
                             .reason = request->cause.reason};
    return refunds_job_add(refunds, &job, QUOTE_SET_REVOKED, words, ARRAY_LEN(words), err);
}

static json_t *identity(const char *subscription, bool revoked)
{
    return json_pack("{s:s, s:b}", "subscription", subscription, "revoked", (int)revoked);
}

/* The chain says so already, and nothing under way says otherwise. */
static enum problem nothing_to_do(const char *subscription, bool revoked, json_t **out)
{
    json_t *object = identity(subscription, revoked);
    json_object_set_new(object, "state", json_string("done"));
    json_object_set_new(object, "tx_hash", json_null());
    json_object_set_new(object, "error", json_null());
    *out = json_pack("{s:o}", "revocation", object);
    return PROBLEM_NONE;
}

static enum problem revoke_transact(const struct refunds *refunds,
                                    const struct treasury_revoke *request, json_t **out,
                                    struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    char subscription[QUOTE_SUBSCRIPTION_ID], subscriber[43], service_id[67], key[80];
    quote_subscription_id(&refunds->target->domain, request->subscriber, &request->service_id,
                          subscription);
    hex_encode(request->subscriber, 20, subscriber);
    word_hex(&request->service_id, service_id);
    if (pg_begin(refunds->conn, err) != 0 ||
        pg_run(refunds->conn, &lock_stmt, PG_PARAMS(subscription), NULL, err) != 0 ||
        pg_run(refunds->conn, &slot_stmt,
               PG_PARAMS(pg_num(refunds->follower).s, subscriber, service_id, subscription), &row,
               err) != 0)
        return PROBLEM_UNAVAILABLE;
    bool open = !pg_null(row, 0, "open_key");
    const char *wanted = request->revoked ? "revoke" : "unrevoke";
    if (open && strcmp(pg_text(row, 0, "open_kind"), wanted) != 0) {
        err_set(err, "the opposite is under way: ask again when it is done");
        return PROBLEM_CONFLICT;
    }
    if (!open && pg_bool(row, 0, "revoked") == request->revoked)
        return nothing_to_do(subscription, request->revoked, out);
    snprintf(key, sizeof(key), "revoke:%s:%lld", subscription,
             (long long)pg_int(row, 0, "changes"));
    if (open)
        snprintf(key, sizeof(key), "%s", pg_text(row, 0, "open_key"));
    enum problem problem =
        open ? PROBLEM_NONE : revoke_add(refunds, request, subscription, key, err);
    return problem == PROBLEM_NONE
               ? refunds_job_answer(refunds, key, "revocation",
                                    identity(subscription, request->revoked), out, err)
               : problem;
}

enum problem refunds_revoke(const struct refunds *refunds, const struct treasury_revoke *request,
                            json_t **out, struct err *err)
{
    *out = NULL;
    return refunds_job_end(refunds, revoke_transact(refunds, request, out, err), out, err);
}

int refunds_spread(const struct refunds *refunds, int64_t *added, struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    *added = 0;
    if (pg_run(refunds->conn, &spread_stmt, PG_PARAMS(pg_num(refunds->follower).s), &rows, err) !=
        0)
        return -1;
    for (int row = 0; row < PQntuples(rows); row++) {
        AUTO_JSON json_t *out = NULL;
        struct treasury_revoke request = {.revoked = true,
                                          .cause = {"payd", "revoked by an operator"}};
        if (hex_decode(pg_text(rows, row, "subscriber"), request.subscriber, 20) != 0 ||
            hex_decode(pg_text(rows, row, "service_id"), request.service_id.b, 32) != 0)
            return err_set(err, "a payment's slot cannot be read");
        if (refunds_revoke(refunds, &request, &out, err) != PROBLEM_NONE)
            return -1;
        ++*added;
    }
    return 0;
}
