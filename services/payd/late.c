/* A row is known by its place on the chain, block and log index, whatever kind of row it is. Who
 * looks has shown that the blocks are those we hold, so the same place is the same event. */
#include "services/payd/late.h"

#include "services/payd/transfer.h"

#include <string.h>

static const struct pg_stmt places_stmt = {
    "late_places",
    "SELECT block_number, log_index FROM slot_event WHERE follower = $1 AND block_number BETWEEN "
    "$2 AND $3 UNION ALL "
    "SELECT block_number, log_index FROM signer_event WHERE follower = $1 AND block_number BETWEEN "
    "$2 AND $3 UNION ALL "
    "SELECT block_number, log_index FROM transfer WHERE follower = $1 AND block_number BETWEEN $2 "
    "AND $3 AND state <> 'orphaned' UNION ALL "
    "SELECT refund_block, refund_log_index FROM transfer WHERE follower = $1 AND refund_block "
    "BETWEEN $2 AND $3 ORDER BY 1, 2"};
static const struct pg_stmt stands_stmt = {
    "late_stands",
    "SELECT looked_number, greatest(looked_number + 1, start_block) AS first, cursor_number, "
    "head_number FROM follower WHERE id = $1"};
static const struct pg_stmt frame_stmt = {
    "late_frame", "SELECT number, hash FROM block WHERE follower = $1 AND number >= $2 ORDER BY "
                  "number LIMIT 1"};

void late_clear(struct late *late)
{
    free(late->blocks);
    evm_events_clear(&late->events);
    *late = (struct late){0};
}

static bool makes_row(const struct evm_event *event, const struct transfer_mark *mark)
{
    switch (event->kind) {
    case EVM_PAID:
    case EVM_REVOKED:
    case EVM_REFUNDED:
    case EVM_TRANSFER_REFUNDED:
    case EVM_SIGNER_CHANGED:
        return true;
    case EVM_TOPPED_UP:
        return false;
    case EVM_TRANSFER:
        return mark->unmatched;
    }
    return false;
}

static bool before(const PGresult *places, int row, const struct evm_event *event)
{
    int64_t block = pg_int(places, row, "block_number");
    return block < event->block ||
           (block == event->block && pg_int(places, row, "log_index") < event->log_index);
}

static bool at(const PGresult *places, int row, const struct evm_event *event)
{
    return row < PQntuples(places) && pg_int(places, row, "block_number") == event->block &&
           pg_int(places, row, "log_index") == event->log_index;
}

int late_missing(struct pg_conn *conn, int64_t follower, const uint8_t contract[20],
                 const struct evm_events *events, bool *missing, struct err *err)
{
    AUTO_PG_RESULT PGresult *places = NULL;
    AUTO_FREE struct transfer_mark *marks = mem_array(events->count + 1, sizeof(*marks));
    int row = 0;
    if (events->count == 0)
        return 0;
    transfer_match(events, marks);
    transfer_keep(events, contract, TRANSFER_BLOCK_MOST, marks);
    if (pg_run(conn, &places_stmt,
               PG_PARAMS(pg_num(follower).s, pg_num(events->items[0].block).s,
                         pg_num(events->items[events->count - 1].block).s),
               &places, err) != 0)
        return -1;
    for (size_t i = 0; i < events->count; i++) {
        const struct evm_event *event = &events->items[i];
        while (row < PQntuples(places) && before(places, row, event))
            row++;
        missing[i] = makes_row(event, &marks[i]) && !at(places, row, event);
    }
    return 0;
}

int late_next(struct pg_conn *conn, int64_t follower, int64_t behind, int64_t range,
              int64_t several, struct late_plan *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *stands = NULL;
    AUTO_PG_RESULT PGresult *frame = NULL;
    *out = (struct late_plan){.to = -1};
    if (pg_run(conn, &stands_stmt, PG_PARAMS(pg_num(follower).s), &stands, err) != 0)
        return -1;
    if (PQntuples(stands) != 1)
        return err_set(err, "the follower's row is gone");
    int64_t last = pg_int(stands, 0, "cursor_number") - behind;
    out->looked = pg_int(stands, 0, "looked_number");
    out->from = pg_int(stands, 0, "first");
    bool far = pg_int(stands, 0, "head_number") - pg_int(stands, 0, "cursor_number") > behind;
    if (far || last - out->from + 1 < several)
        return 0;
    int64_t to = last - out->from < range ? last : out->from + range - 1;
    if (pg_run(conn, &frame_stmt, PG_PARAMS(pg_num(follower).s, pg_num(to).s), &frame, err) != 0)
        return -1;
    if (PQntuples(frame) != 1)
        return 0;
    out->to = to;
    out->frame.number = pg_int(frame, 0, "number");
    snprintf(out->frame.hash, sizeof(out->frame.hash), "%s", pg_text(frame, 0, "hash"));
    return 0;
}
