/* Which transfers paid nothing, and their rows. A transaction may hold several payments, top-ups
 * and plain transfers: the contract emits Paid or ToppedUp and then draws the money, so the
 * transfer that belongs to it is the first of its token and amount that follows. */
#include "services/payd/transfer.h"

#include "libcommon/eth/hex.h"
#include "libcommon/eth/keccak.h"
#include "libcommon/log.h"

#include <string.h>

#define SETTLE_BATCH 500

static const struct pg_stmt transfer_find = {
    "transfer_find", "SELECT revision, state FROM transfer WHERE id = $1 FOR UPDATE"};
static const struct pg_stmt transfer_add = {
    "transfer_add",
    "WITH added AS ("
    "  INSERT INTO transfer (id, follower, revision, state, token, sender, amount, tx_hash, "
    "ordinal, block_number, block_hash, log_index, mined_at, seen_at)"
    "  VALUES ($1, $2, 1, 'seen', $3, $4, $5, $6, $7, $8, $9, $10, now(), now()) RETURNING *"
    "), told AS ("
    "  INSERT INTO event_outbox (follower, type, subject, data) SELECT follower, "
    "transfer_event_type(state), id, transfer_event_data(added::transfer, NULL) FROM added"
    ") INSERT INTO transfer_event (transfer_id, revision, state, tx_hash, block_number, "
    "block_hash, epoch) SELECT id, revision, state, tx_hash, block_number, block_hash, $11::bigint "
    "FROM added"};
static const struct pg_stmt transfer_place = {
    "transfer_place",
    "UPDATE transfer SET token = $2, sender = $3, amount = $4, block_number = $5, block_hash = $6, "
    "log_index = $7, mined_at = now() WHERE id = $1"};
static const struct pg_stmt transfer_repaid = {
    "transfer_repaid",
    "UPDATE transfer SET refund_tx = $2, refund_block = $3, refund_log_index = $4, refund_to = $5, "
    "refund_amount = $6, refunded_at = now(), refund_before = state WHERE id = $1 AND follower = "
    "$7 AND state IN ('seen', 'confirming', 'confirmed') "
    "RETURNING id, revision, state, block_number"};
static const struct pg_stmt transfer_open = {
    "transfer_open",
    "SELECT id, revision, state, block_number, (extract(epoch FROM clock_timestamp() - mined_at) * "
    "1000)::bigint AS age_ms FROM transfer WHERE follower = $1 AND state IN ('seen', 'confirming') "
    "AND block_number <= $2 ORDER BY block_number, log_index LIMIT $3 FOR UPDATE"};
static const struct pg_stmt transfer_above = {
    "transfer_above",
    "SELECT id, revision, state, block_number, refund_before FROM transfer WHERE follower = $1 AND "
    "state <> 'orphaned' AND (block_number > $2 OR refund_block > $2) "
    "ORDER BY block_number, log_index FOR UPDATE"};

static const struct pg_stmt transfer_stands = {
    "transfer_stands",
    "SELECT id, revision, state, block_number FROM transfer WHERE id = $1 AND state IN ('seen', "
    "'confirming', 'confirmed') FOR UPDATE"};

static const struct pg_stmt transfer_recent = {
    "transfer_recent",
    "SELECT count(*) AS count FROM (SELECT FROM transfer WHERE follower = $1 AND block_number > $2 "
    "LIMIT $3) AS recent"};

static bool same_transaction(const struct evm_event *a, const struct evm_event *b)
{
    return a->block == b->block && strcmp(a->tx_hash, b->tx_hash) == 0;
}

/* The transfer that events[paid] explains; nothing where there is none. */
static void match_one(const struct evm_events *events, size_t paid, struct transfer_mark *marks)
{
    const struct evm_event *event = &events->items[paid];
    for (size_t i = paid + 1; i < events->count; i++) {
        const struct evm_event *next = &events->items[i];
        if (!same_transaction(event, next))
            return;
        if (next->kind == EVM_TRANSFER && marks[i].unmatched &&
            memcmp(next->token, event->token, 20) == 0 &&
            memcmp(&next->amount, &event->amount, sizeof(next->amount)) == 0) {
            marks[i].unmatched = false;
            return;
        }
    }
}

void transfer_match(const struct evm_events *events, struct transfer_mark *marks)
{
    int32_t ordinal = 0;
    for (size_t i = 0; i < events->count; i++) {
        const struct evm_event *event = &events->items[i];
        if (i == 0 || !same_transaction(event - 1, event))
            ordinal = 0;
        bool transfer = event->kind == EVM_TRANSFER;
        marks[i] = (struct transfer_mark){ordinal, transfer};
        ordinal += transfer ? 1 : 0;
    }
    for (size_t i = 0; i < events->count; i++) {
        if (events->items[i].kind == EVM_PAID || events->items[i].kind == EVM_TOPPED_UP)
            match_one(events, i, marks);
    }
}

/* Nothing, or what the contract sent to itself: never a row. */
static bool worth_a_row(const struct evm_event *event, const uint8_t contract[20])
{
    static const struct word nothing;
    return memcmp(event->account, contract, 20) != 0 &&
           memcmp(&event->amount, &nothing, sizeof(nothing)) != 0;
}

static int by_size(const void *left, const void *right)
{
    const struct evm_event *a = *(const struct evm_event *const *)left;
    const struct evm_event *b = *(const struct evm_event *const *)right;
    int token = memcmp(a->token, b->token, sizeof(a->token));
    int amount = memcmp(&b->amount, &a->amount, sizeof(a->amount));
    if (a->block != b->block)
        return a->block < b->block ? -1 : 1;
    if (token != 0 || amount != 0)
        return token != 0 ? token : amount;
    return (a->log_index > b->log_index) - (a->log_index < b->log_index);
}

size_t transfer_keep(const struct evm_events *events, const uint8_t contract[20], size_t most,
                     struct transfer_mark *marks)
{
    AUTO_FREE const struct evm_event **sorted = mem_array(events->count + 1, sizeof(*sorted));
    size_t count = 0, rank = 0, others = 0;
    for (size_t i = 0; i < events->count; i++) {
        marks[i].unmatched = marks[i].unmatched && worth_a_row(&events->items[i], contract);
        if (marks[i].unmatched)
            sorted[count++] = &events->items[i];
    }
    qsort(sorted, count, sizeof(*sorted), by_size);
    for (size_t i = 0; i < count; i++) {
        bool same = i > 0 && sorted[i]->block == sorted[i - 1]->block &&
                    memcmp(sorted[i]->token, sorted[i - 1]->token, 20) == 0;
        rank = same ? rank + 1 : 0;
        if (rank < most)
            continue;
        marks[sorted[i] - events->items].unmatched = false;
        others++;
    }
    return others;
}

int transfer_bound(struct book *book, const struct evm_events *events, struct transfer_mark *marks,
                   struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    size_t last = events->count;
    while (last > 0 && !marks[last - 1].unmatched)
        last--;
    if (last == 0)
        return 0;
    if (pg_run(book->conn, &transfer_recent,
               PG_PARAMS(pg_num(book->options->follower).s,
                         pg_num(events->items[last - 1].block - TRANSFER_WINDOW).s,
                         pg_num(TRANSFER_WINDOW_MOST).s),
               &row, err) != 0)
        return -1;
    bool full = pg_int(row, 0, "count") >= TRANSFER_WINDOW_MOST;
    size_t most = full ? 1 : TRANSFER_BLOCK_MOST;
    book->unrecorded += transfer_keep(events, book->options->domain.contract, most, marks);
    return 0;
}

struct word transfer_id(uint64_t chain_id, const char tx_hash[EVM_HASH], int32_t ordinal)
{
    struct word words[3] = {word_from_u64(chain_id), {{0}}, word_from_u64((uint64_t)ordinal)};
    struct word id;
    if (hex_decode(tx_hash, words[1].b, 32) != 0)
        abort(); /* evm.c wrote it */
    keccak256(words, sizeof(words), id.b);
    return id;
}

struct texts {
    char id[67], token[43], account[43], amount[80];
};

static void texts_of(const struct evm_event *event, const struct word *id, struct texts *out)
{
    word_hex(id, out->id);
    hex_encode(event->token, 20, out->token);
    hex_encode(event->account, 20, out->account);
    word_decimal(&event->amount, out->amount);
}

static int insert(struct book *book, const struct evm_event *event, int32_t ordinal,
                  const struct texts *texts, struct err *err)
{
    struct move move = {.transfer = true,
                        .revision = 1,
                        .first = true,
                        .block = event->block,
                        .move = {LEDGER_SEEN, LEDGER_SEEN, LEDGER_HINT_NONE}};
    if (pg_run(book->conn, &transfer_add,
               PG_PARAMS(texts->id, pg_num(book->options->follower).s, texts->token, texts->account,
                         texts->amount, event->tx_hash, pg_num(ordinal).s, pg_num(event->block).s,
                         event->block_hash, pg_num(event->log_index).s, pg_num(book->epoch).s),
               NULL, err) != 0)
        return -1;
    snprintf(move.payment, sizeof(move.payment), "%s", texts->id);
    move_add(&book->moves, &move);
    return 0;
}

static int again(struct book *book, const struct evm_event *event, const struct texts *texts,
                 const PGresult *row, struct err *err)
{
    struct move_from from = {
        .payment = texts->id, .revision = pg_int(row, 0, "revision"), .block = event->block};
    if (ledger_parse(pg_text(row, 0, "state"), &from.state) != 0 || from.state != LEDGER_ORPHANED)
        return err_set(err, "transfer %s stands on the chain twice, says the node", texts->id);
    if (pg_run(book->conn, &transfer_place,
               PG_PARAMS(texts->id, texts->token, texts->account, texts->amount,
                         pg_num(event->block).s, event->block_hash, pg_num(event->log_index).s),
               NULL, err) != 0)
        return -1;
    return move_write_transfer(book->conn, &from, LEDGER_MINED, book->epoch, &book->moves, err);
}

int transfer_write(struct book *book, const struct evm_event *event, int32_t ordinal,
                   struct err *err)
{
    AUTO_PG_RESULT PGresult *found = NULL;
    struct texts texts;
    struct word id = transfer_id(book->options->domain.chain_id, event->tx_hash, ordinal);
    texts_of(event, &id, &texts);
    if (pg_run(book->conn, &transfer_find, PG_PARAMS(texts.id), &found, err) != 0)
        return -1;
    return PQntuples(found) == 0 ? insert(book, event, ordinal, &texts, err)
                                 : again(book, event, &texts, found, err);
}

static int row_move(struct book *book, const PGresult *rows, int row, enum ledger_cause cause,
                    enum ledger_state before, struct err *err)
{
    struct move_from from = {.payment = pg_text(rows, row, "id"),
                             .revision = pg_int(rows, row, "revision"),
                             .before = before,
                             .block = pg_int(rows, row, "block_number")};
    if (ledger_parse(pg_text(rows, row, "state"), &from.state) != 0)
        return err_set(err, "transfer %s: state is not one we know", from.payment);
    return move_write_transfer(book->conn, &from, cause, book->epoch, &book->moves, err);
}

int transfer_explained(struct book *book, const struct evm_events *events,
                       const struct transfer_mark *marks, struct err *err)
{
    for (size_t i = 0; i < events->count; i++) {
        AUTO_PG_RESULT PGresult *row = NULL;
        const struct evm_event *event = &events->items[i];
        struct texts texts;
        if (event->kind != EVM_TRANSFER || marks[i].unmatched)
            continue;
        struct word id =
            transfer_id(book->options->domain.chain_id, event->tx_hash, marks[i].ordinal);
        texts_of(event, &id, &texts);
        if (pg_run(book->conn, &transfer_stands, PG_PARAMS(texts.id), &row, err) != 0 ||
            (PQntuples(row) == 1 && row_move(book, row, 0, LEDGER_CUT_OFF, LEDGER_SEEN, err) != 0))
            return -1;
    }
    return 0;
}

int transfer_refunded(struct book *book, const struct evm_event *event, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    struct texts texts;
    texts_of(event, &event->transfer_id, &texts);
    if (pg_run(book->conn, &transfer_repaid,
               PG_PARAMS(texts.id, event->tx_hash, pg_num(event->block).s,
                         pg_num(event->log_index).s, texts.account, texts.amount,
                         pg_num(book->options->follower).s),
               &row, err) != 0)
        return -1;
    if (PQntuples(row) == 1)
        return row_move(book, row, 0, LEDGER_REPAID, LEDGER_SEEN, err);
    log_error("a transfer that is not known was sent back", LOG_STR(TRANSFER, texts.id),
              LOG_INT(BLOCK, event->block));
    return 0;
}

int transfer_settle(struct book *book, int64_t cursor, int64_t ceiling, struct err *err)
{
    AUTO_PG_RESULT PGresult *open = NULL;
    if (pg_run(
            book->conn, &transfer_open,
            PG_PARAMS(pg_num(book->options->follower).s, pg_num(cursor).s, pg_num(SETTLE_BATCH).s),
            &open, err) != 0)
        return -1;
    for (int row = 0; row < PQntuples(open); row++) {
        enum ledger_state state;
        enum ledger_cause cause;
        if (ledger_parse(pg_text(open, row, "state"), &state) != 0)
            return err_set(err, "transfer %s: state is not one we know", pg_text(open, row, "id"));
        if (ledger_judge(&book->options->rule, state, pg_int(open, row, "block_number"), cursor,
                         ceiling, pg_int(open, row, "age_ms"), &cause) &&
            row_move(book, open, row, cause, LEDGER_SEEN, err) != 0)
            return -1;
    }
    return 0;
}

int transfer_undo(struct book *book, int64_t number, struct err *err)
{
    AUTO_PG_RESULT PGresult *above = NULL;
    if (pg_run(book->conn, &transfer_above,
               PG_PARAMS(pg_num(book->options->follower).s, pg_num(number).s), &above, err) != 0)
        return -1;
    for (int row = 0; row < PQntuples(above); row++) {
        enum ledger_state before = LEDGER_SEEN;
        bool gone = pg_int(above, row, "block_number") > number;
        if (!gone && ledger_parse(pg_text(above, row, "refund_before"), &before) != 0)
            return err_set(err, "transfer %s: its state before the refund is not one we know",
                           pg_text(above, row, "id"));
        if (row_move(book, above, row, gone ? LEDGER_CUT_OFF : LEDGER_UNREPAID, before, err) != 0)
            return -1;
    }
    return 0;
}
