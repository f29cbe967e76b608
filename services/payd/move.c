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
        ledger_announce(metrics, move->payment, move->revision, move->first, &move->move,
                        move->block, move->reason[0] == '\0' ? NULL : move->reason);
    }
    return moves->count > 0;
}

static const struct pg_stmt write_move = {
    "move",
    "WITH moved AS ("
    "  UPDATE payment SET state = $3::text, revision = revision + 1, reason = $5::text,"
    "         confirmed_at = CASE $3::text WHEN 'confirmed' THEN now() WHEN 'activated' THEN "
    "confirmed_at END,"
    "         activated_at = CASE $3::text WHEN 'activated' THEN now() END,"
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

int move_write(struct pg_conn *conn, const struct move_from *from, enum ledger_cause cause,
               const char *reason, int64_t epoch, struct moves *moves, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    struct move move = {.block = from->block, .revision = from->revision + 1};
    if (ledger_transition(from->state, cause, &move.move) != 0)
        return err_set(err, "payment %s: no way out of %s by cause %d", from->payment,
                       ledger_name(from->state), (int)cause);
    if (pg_run(conn, &write_move,
               PG_PARAMS(from->payment, pg_num(from->revision).s, ledger_name(move.move.to),
                         ledger_name(from->state), reason, ledger_hint_name(move.move.hint),
                         pg_num(epoch).s),
               &result, err) != 0)
        return -1;
    if (PQntuples(result) != 1)
        return err_set(err, "payment %s is no longer at revision %lld", from->payment,
                       (long long)from->revision);
    snprintf(move.payment, sizeof(move.payment), "%s", from->payment);
    snprintf(move.reason, sizeof(move.reason), "%s", reason == NULL ? "" : reason);
    move_add(moves, &move);
    return 0;
}
