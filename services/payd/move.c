/* Writes a transition of the payment's state machine: guarded by the revision, numbered, and never
 * without its line in payment_event. */
#include "services/payd/move.h"

#include <string.h>

void move_add(struct moves *moves, const struct move *move)
{
    moves->items = mem_resize(moves->items, moves->count + 1, sizeof(*moves->items));
    moves->items[moves->count++] = *move;
}

void move_clear(struct moves *moves)
{
    free(moves->items);
    *moves = (struct moves){0};
}

bool move_announce(const struct moves *moves, struct metrics *metrics)
{
    for (size_t i = 0; i < moves->count; i++) {
        const struct move *move = &moves->items[i];
        ledger_announce(metrics, move->transfer, move->payment, move->revision, move->first,
                        &move->move, move->block, move->reason[0] == '\0' ? NULL : move->reason);
    }
    return moves->count > 0;
}

/* A refund's columns are written before its move, and go with the state. */
#define KEEP(column) " " #column " = CASE $3::text WHEN 'refunded' THEN " #column " END,"
#define KEEP_REFUND                                                                                \
    KEEP(refund_tx)                                                                                \
    KEEP(refund_block)                                                                             \
    KEEP(refund_log_index) KEEP(refund_amount) KEEP(refunded_at) KEEP(refund_before)

static const struct pg_stmt write_move = {
    "move",
    "WITH moved AS ("
    "  UPDATE payment SET state = $3::text, revision = revision + 1, reason = $5::text,"
    "         confirmed_at = CASE $3::text WHEN 'confirmed' THEN coalesce(confirmed_at, now()) "
    "WHEN "
    "'activated' THEN confirmed_at WHEN 'refunded' THEN confirmed_at END,"
    "         activated_at = CASE $3::text WHEN 'activated' THEN now() WHEN 'refunded' THEN "
    "activated_at END," KEEP_REFUND
    "         activated_revision = CASE $3::text WHEN 'activated' THEN revision END"
    "   WHERE id = $1 AND revision = $2::bigint AND state = $4::text RETURNING *"
    "), logged AS ("
    "  INSERT INTO payment_event (payment_id, revision, from_state, state, reason, tx_hash, "
    "block_number, block_hash, epoch)"
    "  SELECT id, revision, $4::text, state, reason, tx_hash, block_number, block_hash, "
    "nullif($7::bigint, 0) FROM moved"
    "), hinted AS ("
    "  INSERT INTO outbox (payment_id, follower, revision, kind)"
    "  SELECT id, follower, revision, $6::text FROM moved WHERE $6::text <> ''"
    "  ON CONFLICT (payment_id) DO UPDATE SET revision = excluded.revision, kind = excluded.kind, "
    "attempts = 0,"
    "     created_at = clock_timestamp(), next_at = clock_timestamp()"
    "), told AS ("
    "  INSERT INTO event_outbox (follower, type, subject, data)"
    "  SELECT follower, 'payment.' || state, id, payment_event_data(moved::payment, $4::text) FROM "
    "moved WHERE payment_tells(state)"
    ") SELECT revision FROM moved"};

static const struct pg_stmt write_transfer = {
    "move_transfer",
    "WITH moved AS ("
    "  UPDATE transfer SET state = $3::text, confirmed_at = CASE $3::text WHEN 'confirmed' THEN "
    "coalesce(confirmed_at, now()) WHEN 'refunded' THEN confirmed_at END," KEEP_REFUND KEEP(
        refund_to) " revision = revision + 1"
                   "   WHERE id = $1 AND revision = $2::bigint AND state = $4::text RETURNING *"
                   "), logged AS ("
                   "  INSERT INTO transfer_event (transfer_id, revision, from_state, state, "
                   "tx_hash, "
                   "block_number, block_hash, refund_tx, epoch)"
                   "  SELECT id, revision, $4::text, state, tx_hash, block_number, block_hash, "
                   "refund_tx, "
                   "nullif($5::bigint, 0) FROM moved"
                   "), told AS ("
                   "  INSERT INTO event_outbox (follower, type, subject, data)"
                   "  SELECT follower, transfer_event_type(state), id, "
                   "transfer_event_data(moved::transfer, $4::text) FROM moved WHERE state <> "
                   "'confirming'"
                   ") SELECT revision FROM moved"};

static int moved_one(const PGresult *result, const struct move_from *from, struct move *move,
                     struct moves *moves, struct err *err)
{
    if (PQntuples(result) != 1)
        return err_set(err, "%s is no longer at revision %lld", from->payment,
                       (long long)from->revision);
    snprintf(move->payment, sizeof(move->payment), "%s", from->payment);
    move_add(moves, move);
    return 0;
}

int move_write(struct pg_conn *conn, const struct move_from *from, enum ledger_cause cause,
               const char *reason, int64_t epoch, struct moves *moves, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    struct move move = {.block = from->block, .revision = from->revision + 1};
    if (ledger_transition(from->state, cause, from->before, &move.move) != 0)
        return err_set(err, "payment %s: no way out of %s by cause %d", from->payment,
                       ledger_name(from->state), (int)cause);
    if (pg_run(conn, &write_move,
               PG_PARAMS(from->payment, pg_num(from->revision).s, ledger_name(move.move.to),
                         ledger_name(from->state), reason, ledger_hint_name(move.move.hint),
                         pg_num(epoch).s),
               &result, err) != 0)
        return -1;
    snprintf(move.reason, sizeof(move.reason), "%s", reason == NULL ? "" : reason);
    return moved_one(result, from, &move, moves, err);
}

int move_write_transfer(struct pg_conn *conn, const struct move_from *from, enum ledger_cause cause,
                        int64_t epoch, struct moves *moves, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    struct move move = {.transfer = true, .block = from->block, .revision = from->revision + 1};
    if (ledger_transition(from->state, cause, from->before, &move.move) != 0)
        return err_set(err, "transfer %s: no way out of %s by cause %d", from->payment,
                       ledger_name(from->state), (int)cause);
    if (pg_run(conn, &write_transfer,
               PG_PARAMS(from->payment, pg_num(from->revision).s, ledger_name(move.move.to),
                         ledger_name(from->state), pg_num(epoch).s),
               &result, err) != 0)
        return -1;
    return moved_one(result, from, &move, moves, err);
}
