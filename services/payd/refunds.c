/* Refunds and withdrawals: what may be asked, and the contract's call that does it. The contract
 * checks everything again; what is refused here is refused so that an operator hears why at once.
 */
#include "services/payd/refunds.h"

#include "libcommon/eth/hex.h"
#include "services/payd/ledger.h"
#include "services/payd/refunds_job.h"

#include <string.h>

#define EARLY_S 120 /* a chain's clock may lag ours */

static const struct pg_stmt payment_stmt = {
    "refunds_payment",
    "SELECT p.state, p.seq, p.terms, p.token, p.subscriber, p.service_id, p.amount, p.refund_tx, "
    "(SELECT e.kind = 'paid' AND e.seq = p.seq FROM slot_event e WHERE e.follower = p.follower AND "
    "e.subscriber = p.subscriber AND e.service_id = p.service_id AND e.kind IN ('paid', "
    "'refunded') ORDER BY e.block_number DESC, e.log_index DESC LIMIT 1) AS current, "
    "EXISTS (SELECT FROM payment_event v WHERE v.payment_id = p.id AND v.state = 'activated') AS "
    "was_active FROM payment p WHERE p.id = $1 AND p.follower = $2 FOR UPDATE OF p"};
static const struct pg_stmt transfer_stmt = {
    "refunds_transfer",
    "SELECT state, token, sender, amount, refund_tx FROM transfer WHERE id = $1 AND follower = $2 "
    "FOR UPDATE"};

uint64_t refunds_amount(const struct quote_terms *terms, uint64_t paid_now, int64_t now_s)
{
    int64_t at = now_s - EARLY_S;
    uint32_t t = at < 0 ? 0 : at > UINT32_MAX ? UINT32_MAX : (uint32_t)at;
    uint64_t held = quote_unused(terms, t);
    held += held < terms->paid ? 1 : 0; /* that was rounded down */
    uint64_t amount = paid_now > held ? paid_now : held;
    return amount < terms->paid ? amount : terms->paid;
}

static enum problem refuse(struct err *err, enum problem problem, const char *why)
{
    err_set(err, "%s", why);
    return problem;
}

/* A row of payment_stmt, read. */
struct bought {
    enum ledger_state state;
    struct quote_terms terms;
    uint64_t amount;
    struct word subscriber, service_id, token;
    bool current, was_active;
};

static int word_of_address(const char *text, struct word *out)
{
    uint8_t address[20];
    if (hex_decode(text, address, sizeof(address)) != 0)
        return -1;
    *out = word_from_address(address);
    return 0;
}

static int bought_read(const PGresult *row, struct bought *out, struct err *err)
{
    struct word terms, amount;
    *out = (struct bought){.current = pg_bool(row, 0, "current"),
                           .was_active = pg_bool(row, 0, "was_active")};
    if (ledger_parse(pg_text(row, 0, "state"), &out->state) != 0 ||
        word_from_hex(pg_text(row, 0, "terms"), &terms) != 0 ||
        word_from_decimal(pg_text(row, 0, "amount"), &amount) != 0 ||
        word_to_u64(&amount, &out->amount) != 0 ||
        word_from_hex(pg_text(row, 0, "service_id"), &out->service_id) != 0 ||
        word_of_address(pg_text(row, 0, "subscriber"), &out->subscriber) != 0 ||
        word_of_address(pg_text(row, 0, "token"), &out->token) != 0)
        return err_set(err, "the payment's row cannot be read");
    quote_terms_unpack(&terms, &out->terms);
    return 0;
}

static enum problem may_refund(const struct bought *bought, const PGresult *row, int64_t now_s,
                               struct err *err)
{
    switch (bought->state) {
    case LEDGER_SEEN:
    case LEDGER_CONFIRMING:
        return refuse(err, PROBLEM_PAYMENT_PENDING, "the payment is not confirmed yet");
    case LEDGER_ORPHANED:
        return refuse(err, PROBLEM_CONFLICT, "the payment's block is no longer part of the chain");
    case LEDGER_REFUNDED:
        err_set(err, "the payment was refunded by transaction %s", pg_text(row, 0, "refund_tx"));
        return PROBLEM_CONFLICT;
    case LEDGER_CONFIRMED:
    case LEDGER_ACTIVATED:
    case LEDGER_REJECTED:
        break;
    }
    if (!bought->current)
        return refuse(err, PROBLEM_CONFLICT,
                      "a later payment stands on the slot: only that one can be refunded");
    if (now_s > quote_valid_until(&bought->terms) + REFUNDS_WINDOW_S)
        return refuse(err, PROBLEM_REFUND_WINDOW_OVER,
                      "the contract refunds until 6 days after the quote's last second");
    return PROBLEM_NONE;
}

static enum problem payment_ask(const struct refunds *refunds,
                                const struct treasury_refund *request, const char *key,
                                const struct bought *bought, struct err *err)
{
    struct word words[] = {
        bought->subscriber, bought->service_id, bought->token, word_from_u64(bought->terms.seq),
        word_from_u64(refunds_amount(&bought->terms, bought->amount, refunds->now_s))};
    struct wallet_job job = {.kind = WALLET_JOB_REFUND,
                             .key = key,
                             .target = request->id,
                             .actor = request->cause.actor,
                             .reason = request->cause.reason,
                             .again = true};
    return refunds_job_add(refunds, &job, QUOTE_REFUND, words, ARRAY_LEN(words), err);
}

/* The last word of the call. */
static json_t *amount_json(const char *data)
{
    size_t len = strlen(data);
    char hex[67] = "0x", text[80];
    struct word amount;
    if (len < 66)
        return json_null();
    memcpy(hex + 2, data + len - 64, 65);
    if (word_from_hex(hex, &amount) != 0)
        return json_null();
    word_decimal(&amount, text);
    return json_string(text);
}

static enum problem answer(const struct refunds *refunds, const char *key, const char *member,
                           const char *id, json_t **out, struct err *err)
{
    struct refunds_job job;
    if (refunds_job_find(refunds, key, &job, err) != 0)
        return PROBLEM_UNAVAILABLE;
    json_t *object = json_pack("{s:s, s:o}", member, id, "amount", amount_json(job.data));
    return refunds_job_answer(refunds, key, "refund", object, out, err);
}

/* `unasked`: only what was never activated, and not again right after a failure. */
static enum problem payment_transact(const struct refunds *refunds,
                                     const struct treasury_refund *request, bool unasked,
                                     bool *added, json_t **out, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    struct refunds_job job;
    struct bought bought;
    char key[80];
    snprintf(key, sizeof(key), "refund:%s", request->id);
    if (pg_begin(refunds->conn, err) != 0 ||
        pg_run(refunds->conn, &payment_stmt, PG_PARAMS(request->id, pg_num(refunds->follower).s),
               &row, err) != 0)
        return PROBLEM_UNAVAILABLE;
    if (PQntuples(row) != 1)
        return refuse(err, PROBLEM_NOT_FOUND, "there is no such payment");
    if (bought_read(row, &bought, err) != 0 || refunds_job_find(refunds, key, &job, err) != 0)
        return PROBLEM_UNAVAILABLE;
    if (unasked && bought.was_active)
        return refuse(err, PROBLEM_CONFLICT, "the payment was activated before");
    bool begin =
        refunds_job_begins(&job, bought.state == LEDGER_REFUNDED) && !(unasked && job.rests);
    enum problem problem = begin ? may_refund(&bought, row, refunds->now_s, err) : PROBLEM_NONE;
    if (problem == PROBLEM_NONE && begin)
        problem = payment_ask(refunds, request, key, &bought, err);
    *added = begin;
    return problem == PROBLEM_NONE ? answer(refunds, key, "payment_id", request->id, out, err)
                                   : problem;
}

enum problem refunds_payment(const struct refunds *refunds, const struct treasury_refund *request,
                             json_t **out, struct err *err)
{
    bool added;
    *out = NULL;
    enum problem problem = payment_transact(refunds, request, false, &added, out, err);
    return refunds_job_end(refunds, problem, out, err);
}

enum problem refunds_refused(const struct refunds *refunds, const char *payment, bool *added,
                             struct err *err)
{
    AUTO_JSON json_t *out = NULL;
    struct treasury_refund request = {.cause = {"payd", "paid for a revoked subscription"}};
    *added = false;
    snprintf(request.id, sizeof(request.id), "%s", payment);
    enum problem problem = payment_transact(refunds, &request, true, added, &out, err);
    return refunds_job_end(refunds, problem, &out, err);
}

static enum problem transfer_ask(const struct refunds *refunds,
                                 const struct treasury_refund *request, const char *key,
                                 const PGresult *row, struct err *err)
{
    static const struct word nobody;
    struct word words[4];
    const char *state = pg_text(row, 0, "state");
    if (strcmp(state, "refunded") == 0) {
        err_set(err, "the transfer was sent back by transaction %s", pg_text(row, 0, "refund_tx"));
        return PROBLEM_CONFLICT;
    }
    if (strcmp(state, "orphaned") == 0)
        return refuse(err, PROBLEM_CONFLICT, "the transfer's block is no longer part of the chain");
    if (strcmp(state, "confirmed") != 0)
        return refuse(err, PROBLEM_PAYMENT_PENDING, "the transfer is not confirmed yet");
    if (word_from_hex(request->id, &words[0]) != 0 ||
        word_of_address(pg_text(row, 0, "token"), &words[1]) != 0 ||
        word_of_address(pg_text(row, 0, "sender"), &words[2]) != 0 ||
        word_from_decimal(pg_text(row, 0, "amount"), &words[3]) != 0)
        return refuse(err, PROBLEM_UNAVAILABLE, "the transfer's row cannot be read");
    if (memcmp(&words[2], &nobody, sizeof(nobody)) == 0)
        return refuse(err, PROBLEM_CONFLICT, "the token was minted, nobody sent it");
    struct wallet_job job = {.kind = WALLET_JOB_REFUND_TRANSFER,
                             .key = key,
                             .target = request->id,
                             .actor = request->cause.actor,
                             .reason = request->cause.reason,
                             .again = true};
    return refunds_job_add(refunds, &job, QUOTE_REFUND_TRANSFER, words, ARRAY_LEN(words), err);
}

static enum problem transfer_transact(const struct refunds *refunds,
                                      const struct treasury_refund *request, json_t **out,
                                      struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    struct refunds_job job;
    char key[90];
    snprintf(key, sizeof(key), "refund-transfer:%s", request->id);
    if (pg_begin(refunds->conn, err) != 0 ||
        pg_run(refunds->conn, &transfer_stmt, PG_PARAMS(request->id, pg_num(refunds->follower).s),
               &row, err) != 0)
        return PROBLEM_UNAVAILABLE;
    if (PQntuples(row) != 1)
        return refuse(err, PROBLEM_NOT_FOUND, "there is no such transfer");
    if (refunds_job_find(refunds, key, &job, err) != 0)
        return PROBLEM_UNAVAILABLE;
    enum problem problem = PROBLEM_NONE;
    if (job.failed || refunds_job_begins(&job, strcmp(pg_text(row, 0, "state"), "refunded") == 0))
        problem = transfer_ask(refunds, request, key, row, err);
    return problem == PROBLEM_NONE ? answer(refunds, key, "transfer_id", request->id, out, err)
                                   : problem;
}

enum problem refunds_transfer(const struct refunds *refunds, const struct treasury_refund *request,
                              json_t **out, struct err *err)
{
    *out = NULL;
    return refunds_job_end(refunds, transfer_transact(refunds, request, out, err), out, err);
}

static bool listed(const struct settings_target *target, const uint8_t token[20])
{
    for (size_t i = 0; i < target->token_count; i++) {
        if (memcmp(target->tokens[i].address, token, 20) == 0)
            return true;
    }
    return target->token_count == 0;
}

static enum problem withdraw_transact(const struct refunds *refunds,
                                      const struct treasury_withdraw *request, json_t **out,
                                      struct err *err)
{
    char token[43], key[160];
    hex_encode(request->token, 20, token);
    enum wallet_job_kind kind = request->fees ? WALLET_JOB_WITHDRAW_FEES : WALLET_JOB_WITHDRAW;
    snprintf(key, sizeof(key), "%s:%s:%s", wallet_job_kind_name(kind), token, request->key);
    struct wallet_job job = {.kind = kind,
                             .key = key,
                             .target = token,
                             .actor = request->cause.actor,
                             .reason = request->cause.reason};
    struct word words[] = {word_from_address(request->token)};
    if (!listed(refunds->target, request->token))
        return refuse(err, PROBLEM_INVALID_FIELD, "token: none that payments are taken in");
    if (pg_begin(refunds->conn, err) != 0)
        return PROBLEM_UNAVAILABLE;
    enum problem problem =
        refunds_job_add(refunds, &job, request->fees ? QUOTE_WITHDRAW_FEES : QUOTE_WITHDRAW, words,
                        ARRAY_LEN(words), err);
    if (problem != PROBLEM_NONE)
        return problem;
    hex_address_format(request->token, token);
    return refunds_job_answer(refunds, key, "withdrawal",
                              json_pack("{s:s, s:b}", "token", token, "fees", (int)request->fees),
                              out, err);
}

enum problem refunds_withdraw(const struct refunds *refunds,
                              const struct treasury_withdraw *request, json_t **out,
                              struct err *err)
{
    *out = NULL;
    return refunds_job_end(refunds, withdraw_transact(refunds, request, out, err), out, err);
}
