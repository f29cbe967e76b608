/* One event of the chain as rows. A payment is known by its quote's digest, so it is found again
 * wherever it is mined; what stands on a slot is the last event of the slot, so that a rollback is
 * the deletion of rows. */
#include "services/payd/book.h"

#include "libcommon/eth/hex.h"
#include "libcommon/log.h"
#include "services/payd/transfer.h"

#include <string.h>

#define SETTLE_BATCH 500 /* open payments judged in one step */

static const struct pg_stmt slot_drop = {
    "slot_drop", "DELETE FROM slot_event WHERE follower = $1 AND block_number > $2"};
static const struct pg_stmt signer_drop = {
    "signer_drop", "DELETE FROM signer_event WHERE follower = $1 AND block_number > $2"};
static const struct pg_stmt signer_add = {
    "signer_add", "INSERT INTO signer_event (follower, block_number, log_index, signer) "
                  "VALUES ($1, $2, $3, $4)"};
static const struct pg_stmt slot_add = {
    "slot_add",
    "INSERT INTO slot_event (follower, block_number, log_index, kind, subscriber, service_id, seq, "
    "terms, revoked, tx_hash, amount) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"};
static const struct pg_stmt slot_seq = {
    "slot_seq",
    "SELECT seq FROM slot_event WHERE follower = $1 AND subscriber = $2 AND service_id = $3 AND "
    "kind IN ('paid', 'refunded') AND (block_number, log_index) < ($4::bigint, $5::int) ORDER BY "
    "block_number DESC, log_index DESC LIMIT 1"};
static const struct pg_stmt slot_refund = {
    "slot_refund",
    "SELECT block_number, log_index, tx_hash, amount FROM slot_event WHERE follower = $1 AND "
    "subscriber = $2 AND service_id = $3 AND kind = 'refunded' AND seq = $4 AND (block_number, "
    "log_index) > ($5::bigint, $6::int) ORDER BY block_number, log_index LIMIT 1"};
static const struct pg_stmt plan_known = {"plan_known", "SELECT plan_known($1::int) AS known"};
static const struct pg_stmt payment_find = {
    "payment_find", "SELECT revision, state FROM payment WHERE id = $1 FOR UPDATE"};
static const struct pg_stmt payment_add = {
    "payment_add",
    "WITH added AS ("
    "  INSERT INTO payment (id, follower, revision, state, subscriber, service_id, token, terms, "
    "amount, paid, plan, seq, start_at, expires_at, subscription, tx_hash, block_number, "
    "block_hash, log_index, mined_at, seen_at) "
    "  VALUES ($1, $2, 1, 'seen', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, "
    "$17, now(), now()) RETURNING *"
    "), told AS ("
    "  INSERT INTO event_outbox (follower, type, subject, data) SELECT follower, 'payment.seen', "
    "id, payment_event_data(added::payment, NULL) FROM added"
    ") INSERT INTO payment_event (payment_id, revision, state, tx_hash, block_number, block_hash, "
    "epoch) SELECT id, revision, state, tx_hash, block_number, block_hash, $18::bigint FROM added"};
static const struct pg_stmt payment_place = {
    "payment_place",
    "UPDATE payment SET tx_hash = $2, block_number = $3, block_hash = $4, log_index = $5, amount = "
    "$6, mined_at = now() WHERE id = $1"};
static const struct pg_stmt payment_open = {
    "payment_open",
    "SELECT id, revision, state, block_number, (extract(epoch FROM clock_timestamp() - mined_at) * "
    "1000)::bigint AS age_ms FROM payment WHERE follower = $1 AND state IN ('seen', 'confirming') "
    "AND block_number <= $2 ORDER BY block_number, log_index LIMIT $3 FOR UPDATE"};
/* Each plan is asked for once: what is unknown for ever would be asked for at every poll. */
static const struct pg_stmt payment_redeem = {
    "payment_redeem",
    "SELECT id, revision, state, block_number FROM payment WHERE follower = $1 AND state = "
    "'rejected' AND reason = 'unknown-plan' AND plan IN (SELECT plan FROM (SELECT DISTINCT plan "
    "FROM payment WHERE follower = $1 AND state = 'rejected' AND reason = 'unknown-plan' OFFSET 0) "
    "AS plans WHERE plan_known(plan)) ORDER BY block_number LIMIT 100 FOR UPDATE"};
/* seq_before: of the slot, before the payment. */
static const struct pg_stmt payment_unlisted = {
    "payment_unlisted",
    "SELECT id, revision, state, block_number, token, terms, plan_known(plan) AS known, "
    "coalesce((SELECT e.seq FROM slot_event e WHERE e.follower = p.follower AND e.subscriber = "
    "p.subscriber AND e.service_id = p.service_id AND e.kind IN ('paid', 'refunded') AND "
    "(e.block_number, e.log_index) < (p.block_number, p.log_index) ORDER BY e.block_number DESC, "
    "e.log_index DESC LIMIT 1), 0) AS seq_before FROM payment p WHERE follower = $1 AND state = "
    "'rejected' AND reason IN ('unknown-token', 'seq-gap') AND id > $2 ORDER BY id LIMIT 100 FOR "
    "UPDATE OF p"};
static const struct pg_stmt payment_repaid = {
    "payment_repaid",
    "UPDATE payment SET refund_tx = $5, refund_block = $6, refund_log_index = $7, refund_amount = "
    "$8, refunded_at = now(), refund_before = state WHERE follower = $1 AND subscriber = $2 AND "
    "service_id = $3 AND seq = $4 AND state NOT IN ('orphaned', 'refunded') "
    "RETURNING id, revision, state, block_number, reason"};
static const struct pg_stmt payment_above = {
    "payment_above",
    "SELECT id, revision, state, block_number, reason, refund_before FROM payment WHERE follower = "
    "$1 AND state <> 'orphaned' AND (block_number > $2 OR refund_block > $2) "
    "ORDER BY block_number, log_index FOR UPDATE"};

static const char *text_of(const PGresult *rows, int row, const char *column)
{
    return pg_null(rows, row, column) ? NULL : pg_text(rows, row, column);
}

/* The objection to a rejected payment stays with it through a refund. */
static const char *reason_of(const PGresult *rows, int row)
{
    return text_of(rows, row, "reason");
}

static int move_row(struct book *book, const PGresult *rows, int row, enum ledger_cause cause,
                    enum ledger_state before, const char *reason, struct err *err)
{
    struct move_from from = {.payment = pg_text(rows, row, "id"),
                             .revision = pg_int(rows, row, "revision"),
                             .before = before,
                             .block = pg_int(rows, row, "block_number")};
    if (ledger_parse(pg_text(rows, row, "state"), &from.state) != 0)
        return err_set(err, "payment %s: state is not one we know", from.payment);
    return move_write(book->conn, &from, cause, reason, book->epoch, &book->moves, err);
}

struct paid {
    const struct evm_event *event;
    struct quote quote;
    struct quote_terms terms;
    char id[67], subscriber[43], service_id[67], token[43], terms_hex[67], amount[80];
    char subscription[QUOTE_SUBSCRIPTION_ID];
};

static void paid_read(const struct book *book, const struct evm_event *event, struct paid *out)
{
    *out = (struct paid){.event = event};
    memcpy(out->quote.subscriber, event->subscriber, 20);
    memcpy(out->quote.token, event->token, 20);
    out->quote.service_id = event->service_id;
    out->quote.terms = event->terms;
    quote_terms_unpack(&event->terms, &out->terms);
    struct word digest = quote_digest(&book->options->domain, &out->quote);
    word_hex(&digest, out->id);
    hex_encode(event->subscriber, 20, out->subscriber);
    hex_encode(event->token, 20, out->token);
    word_hex(&event->service_id, out->service_id);
    word_hex(&event->terms, out->terms_hex);
    word_decimal(&event->amount, out->amount);
    quote_subscription_id(&book->options->domain, event->subscriber, &event->service_id,
                          out->subscription);
}

static int paid_insert(struct book *book, const struct paid *paid, struct err *err)
{
    const struct evm_event *event = paid->event;
    const struct quote_terms *terms = &paid->terms;
    struct move move = {.revision = 1, .first = true, .block = event->block};
    char amount[24];
    snprintf(amount, sizeof(amount), "%llu", (unsigned long long)terms->paid);
    if (pg_run(book->conn, &payment_add,
               PG_PARAMS(paid->id, pg_num(book->options->follower).s, paid->subscriber,
                         paid->service_id, paid->token, paid->terms_hex, paid->amount, amount,
                         pg_num(terms->plan).s, pg_num(terms->seq).s, pg_num(terms->start).s,
                         pg_num(terms->expiry).s, paid->subscription, event->tx_hash,
                         pg_num(event->block).s, event->block_hash, pg_num(event->log_index).s,
                         pg_num(book->epoch).s),
               NULL, err) != 0)
        return -1;
    snprintf(move.payment, sizeof(move.payment), "%s", paid->id);
    move.move = (struct ledger_move){LEDGER_SEEN, LEDGER_SEEN, LEDGER_HINT_NONE};
    move_add(&book->moves, &move);
    return 0;
}

static int paid_again(struct book *book, const struct paid *paid, const PGresult *row,
                      struct err *err)
{
    const struct evm_event *event = paid->event;
    struct move_from from = {
        .payment = paid->id, .revision = pg_int(row, 0, "revision"), .block = event->block};
    if (ledger_parse(pg_text(row, 0, "state"), &from.state) != 0 || from.state != LEDGER_ORPHANED)
        return err_set(err, "payment %s stands on the chain twice, says the node", paid->id);
    if (pg_run(book->conn, &payment_place,
               PG_PARAMS(paid->id, event->tx_hash, pg_num(event->block).s, event->block_hash,
                         pg_num(event->log_index).s, paid->amount),
               NULL, err) != 0)
        return -1;
    return move_write(book->conn, &from, LEDGER_MINED, NULL, book->epoch, &book->moves, err);
}

static int seq_before(struct book *book, const struct paid *paid, uint16_t *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    if (pg_run(book->conn, &slot_seq,
               PG_PARAMS(pg_num(book->options->follower).s, paid->subscriber, paid->service_id,
                         pg_num(paid->event->block).s, pg_num(paid->event->log_index).s),
               &result, err) != 0)
        return -1;
    *out = PQntuples(result) == 0 ? 0 : (uint16_t)pg_int(result, 0, "seq");
    return 0;
}

static int objection(struct book *book, const struct paid *paid, const char **out, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    uint16_t seq;
    if (seq_before(book, paid, &seq, err) != 0)
        return -1;
    *out = ledger_objection(&paid->terms, paid->quote.token, seq, book->options->tokens,
                            book->options->token_count);
    if (*out != NULL)
        return 0;
    if (pg_run(book->conn, &plan_known, PG_PARAMS(pg_num(paid->terms.plan).s), &result, err) != 0)
        return -1;
    if (!pg_null(result, 0, "known") && !pg_bool(result, 0, "known"))
        *out = LEDGER_UNKNOWN_PLAN;
    return 0;
}

static int slot_write(struct book *book, const struct evm_event *event, int64_t seq,
                      const char *kind, const char *terms, const char *revoked, struct err *err)
{
    char subscriber[43], service_id[67], amount[80];
    bool refunded = event->kind == EVM_REFUNDED;
    hex_encode(event->subscriber, 20, subscriber);
    word_hex(&event->service_id, service_id);
    word_decimal(&event->amount, amount);
    return pg_run(book->conn, &slot_add,
                  PG_PARAMS(pg_num(book->options->follower).s, pg_num(event->block).s,
                            pg_num(event->log_index).s, kind, subscriber, service_id, pg_num(seq).s,
                            terms, revoked, refunded ? event->tx_hash : NULL,
                            refunded ? amount : NULL),
                  NULL, err);
}

/* Its refund was read before it: a payment that was paid back buys nothing. */
static int paid_back(struct book *book, const struct paid *paid, struct err *err)
{
    AUTO_PG_RESULT PGresult *refund = NULL;
    AUTO_PG_RESULT PGresult *row = NULL;
    struct pg_num follower = pg_num(book->options->follower), seq = pg_num(paid->terms.seq);
    if (pg_run(book->conn, &slot_refund,
               PG_PARAMS(follower.s, paid->subscriber, paid->service_id,
                         pg_num(paid->terms.seq + 1).s, pg_num(paid->event->block).s,
                         pg_num(paid->event->log_index).s),
               &refund, err) != 0)
        return -1;
    if (PQntuples(refund) == 0)
        return 0;
    if (pg_run(book->conn, &payment_repaid,
               PG_PARAMS(follower.s, paid->subscriber, paid->service_id, seq.s,
                         text_of(refund, 0, "tx_hash"), pg_text(refund, 0, "block_number"),
                         pg_text(refund, 0, "log_index"), text_of(refund, 0, "amount")),
               &row, err) != 0)
        return -1;
    if (PQntuples(row) != 1)
        return err_set(err, "seq %u of a slot of %s was paid twice", paid->terms.seq,
                       paid->subscriber);
    return move_row(book, row, 0, LEDGER_REPAID, LEDGER_SEEN, reason_of(row, 0), err);
}

static int paid_refuse(struct book *book, const struct paid *paid, const char *why, struct err *err)
{
    struct move_from from = {.payment = paid->id,
                             .revision = book->moves.items[book->moves.count - 1].revision,
                             .state = LEDGER_SEEN,
                             .block = paid->event->block};
    return move_write(book->conn, &from, LEDGER_REFUSED, why, book->epoch, &book->moves, err);
}

static int paid_write(struct book *book, const struct evm_event *event, struct err *err)
{
    AUTO_PG_RESULT PGresult *found = NULL;
    struct paid paid;
    const char *why;
    paid_read(book, event, &paid);
    if (objection(book, &paid, &why, err) != 0 ||
        pg_run(book->conn, &payment_find, PG_PARAMS(paid.id), &found, err) != 0)
        return -1;
    int rc =
        PQntuples(found) == 0 ? paid_insert(book, &paid, err) : paid_again(book, &paid, found, err);
    if (rc != 0 || slot_write(book, event, paid.terms.seq, "paid", paid.terms_hex, NULL, err) != 0)
        return -1;
    if (why != NULL && paid_refuse(book, &paid, why, err) != 0)
        return -1;
    return book->late ? paid_back(book, &paid, err) : 0;
}

/* A refund clears the grant: of the slot only the next seq is left. */
static int refunded_slot(struct book *book, const struct evm_event *event, struct err *err)
{
    const struct quote_terms left = {.seq = (uint16_t)(event->seq + 1)};
    struct word word = quote_terms_pack(&left);
    char terms[67];
    word_hex(&word, terms);
    return slot_write(book, event, left.seq, "refunded", terms, NULL, err);
}

static int refunded_write(struct book *book, const struct evm_event *event, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    char subscriber[43], service_id[67], amount[80];
    hex_encode(event->subscriber, 20, subscriber);
    word_hex(&event->service_id, service_id);
    word_decimal(&event->amount, amount);
    if (refunded_slot(book, event, err) != 0 ||
        pg_run(book->conn, &payment_repaid,
               PG_PARAMS(pg_num(book->options->follower).s, subscriber, service_id,
                         pg_num(event->seq).s, event->tx_hash, pg_num(event->block).s,
                         pg_num(event->log_index).s, amount),
               &row, err) != 0)
        return -1;
    if (PQntuples(row) == 1)
        return move_row(book, row, 0, LEDGER_REPAID, LEDGER_SEEN, reason_of(row, 0), err);
    if (PQntuples(row) > 1)
        return err_set(err, "seq %u of a slot of %s was paid twice", event->seq, subscriber);
    log_error("a payment that is not known was refunded", LOG_INT(BLOCK, event->block),
              LOG_STR(HASH, event->tx_hash));
    return 0;
}

static int signer_write(struct book *book, const struct evm_event *event, struct err *err)
{
    char signer[43];
    hex_encode(event->account, 20, signer);
    return pg_run(book->conn, &signer_add,
                  PG_PARAMS(pg_num(book->options->follower).s, pg_num(event->block).s,
                            pg_num(event->log_index).s, signer),
                  NULL, err);
}

int book_event(struct book *book, const struct evm_event *event, struct err *err)
{
    switch (event->kind) {
    case EVM_PAID:
        return paid_write(book, event, err);
    case EVM_REVOKED:
        return slot_write(book, event, event->seq, "revoked", NULL, event->revoked ? "t" : "f",
                          err);
    case EVM_REFUNDED:
        return refunded_write(book, event, err);
    case EVM_TRANSFER_REFUNDED:
        return transfer_refunded(book, event, err);
    case EVM_SIGNER_CHANGED:
        return signer_write(book, event, err);
    case EVM_TOPPED_UP: /* explains a transfer, and that is all */
    case EVM_TRANSFER:
        break; /* whether it is worth a row depends on its neighbours: transfer.h */
    }
    return 0;
}

static int judge(struct book *book, const PGresult *open, int64_t cursor, int64_t ceiling,
                 struct err *err)
{
    for (int row = 0; row < PQntuples(open); row++) {
        enum ledger_state state;
        enum ledger_cause cause;
        if (ledger_parse(pg_text(open, row, "state"), &state) != 0)
            return err_set(err, "payment %s: state is not one we know", pg_text(open, row, "id"));
        if (ledger_judge(&book->options->rule, state, pg_int(open, row, "block_number"), cursor,
                         ceiling, pg_int(open, row, "age_ms"), &cause) &&
            move_row(book, open, row, cause, LEDGER_SEEN, NULL, err) != 0)
            return -1;
    }
    return 0;
}

/* What was objected to is mended. An unknown plan may be known later, and is then asked for. */
static int relist_row(struct book *book, const PGresult *rows, int row, struct err *err)
{
    struct quote_terms terms;
    struct word word;
    uint8_t token[20];
    if (word_from_hex(pg_text(rows, row, "terms"), &word) != 0 ||
        hex_decode(pg_text(rows, row, "token"), token, sizeof(token)) != 0)
        return err_set(err, "payment %s: its row cannot be read", pg_text(rows, row, "id"));
    quote_terms_unpack(&word, &terms);
    if (ledger_objection(&terms, token, (uint16_t)pg_int(rows, row, "seq_before"),
                         book->options->tokens, book->options->token_count) != NULL)
        return 0;
    if (move_row(book, rows, row, LEDGER_REDEEMED, LEDGER_SEEN, NULL, err) != 0)
        return -1;
    bool unknown_plan = !pg_null(rows, row, "known") && !pg_bool(rows, row, "known");
    struct move_from from = {.payment = pg_text(rows, row, "id"),
                             .revision = pg_int(rows, row, "revision") + 1,
                             .state = LEDGER_CONFIRMING,
                             .block = pg_int(rows, row, "block_number")};
    return !unknown_plan ? 0
                         : move_write(book->conn, &from, LEDGER_REFUSED, LEDGER_UNKNOWN_PLAN,
                                      book->epoch, &book->moves, err);
}

static int relist(struct book *book, struct err *err)
{
    char last[MOVE_ID] = "";
    int count;
    do {
        AUTO_PG_RESULT PGresult *rows = NULL;
        if (pg_run(book->conn, &payment_unlisted,
                   PG_PARAMS(pg_num(book->options->follower).s, last), &rows, err) != 0)
            return -1;
        count = PQntuples(rows);
        for (int row = 0; row < count; row++) {
            if (relist_row(book, rows, row, err) != 0)
                return -1;
        }
        if (count > 0)
            snprintf(last, sizeof(last), "%s", pg_text(rows, count - 1, "id"));
    } while (count > 0);
    return 0;
}

int book_settle(struct book *book, int64_t cursor, int64_t ceiling, struct err *err)
{
    AUTO_PG_RESULT PGresult *redeemed = NULL;
    AUTO_PG_RESULT PGresult *open = NULL;
    if (book->relist && relist(book, err) != 0)
        return -1;
    if (pg_run(book->conn, &payment_redeem, PG_PARAMS(pg_num(book->options->follower).s), &redeemed,
               err) != 0)
        return -1;
    for (int row = 0; row < PQntuples(redeemed); row++) {
        if (move_row(book, redeemed, row, LEDGER_REDEEMED, LEDGER_SEEN, NULL, err) != 0)
            return -1;
    }
    if (pg_run(
            book->conn, &payment_open,
            PG_PARAMS(pg_num(book->options->follower).s, pg_num(cursor).s, pg_num(SETTLE_BATCH).s),
            &open, err) != 0 ||
        judge(book, open, cursor, ceiling, err) != 0)
        return -1;
    return transfer_settle(book, cursor, ceiling, err);
}

static int undo_row(struct book *book, const PGresult *above, int row, int64_t number,
                    struct err *err)
{
    enum ledger_state before;
    if (pg_int(above, row, "block_number") > number)
        return move_row(book, above, row, LEDGER_CUT_OFF, LEDGER_SEEN, NULL, err);
    if (ledger_parse(pg_text(above, row, "refund_before"), &before) != 0)
        return err_set(err, "payment %s: its state before the refund is not one we know",
                       pg_text(above, row, "id"));
    return move_row(book, above, row, LEDGER_UNREPAID, before, reason_of(above, row), err);
}

int book_undo(struct book *book, int64_t number, struct err *err)
{
    AUTO_PG_RESULT PGresult *above = NULL;
    struct pg_num follower = pg_num(book->options->follower), last = pg_num(number);
    if (pg_run(book->conn, &payment_above, PG_PARAMS(follower.s, last.s), &above, err) != 0)
        return -1;
    for (int row = 0; row < PQntuples(above); row++) {
        if (undo_row(book, above, row, number, err) != 0)
            return -1;
    }
    if (transfer_undo(book, number, err) != 0 ||
        pg_run(book->conn, &slot_drop, PG_PARAMS(follower.s, last.s), NULL, err) != 0)
        return -1;
    return pg_run(book->conn, &signer_drop, PG_PARAMS(follower.s, last.s), NULL, err);
}
