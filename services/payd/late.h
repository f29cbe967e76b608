/* What a second reading of blocks behind the cursor found, and which of it is not in the database:
 * a node may have had a block and not (all of) its events when it was read first. */
#ifndef PAYD_LATE_H
#define PAYD_LATE_H

#include "libcommon/pg.h"
#include "services/payd/follow.h"

struct late {
    int64_t looked;             /* where the second reading stood before */
    int64_t to;                 /* and where it stands now */
    struct follow_cursor frame; /* a block of ours at or above `to`, of the chain that was read */
    /* Blocks in which something is missing, ascending, each with all of its events. */
    struct evm_block *blocks; /* owned */
    size_t block_count;
    struct evm_events events;
};

void late_clear(struct late *late);
#define AUTO_LATE CLEANUP(late_clear)

/* missing[i]: events[i] should be a row, and is none. The events are whole blocks', in the chain's
 * order. */
int late_missing(struct pg_conn *conn, int64_t follower, const uint8_t contract[20],
                 const struct evm_events *events, bool *missing, struct err *err) MUST_USE;

/* From where to where to look next, and the block of ours that shows whose chain it is. */
struct late_plan {
    int64_t looked, from, to; /* to < from: nothing to look at yet */
    struct follow_cursor frame;
};

/* At most `range` blocks at least `behind` the cursor, and not before there are `several`, nor
 * while the cursor itself is that far behind the head: first what is new is read. */
int late_next(struct pg_conn *conn, int64_t follower, int64_t behind, int64_t range,
              int64_t several, struct late_plan *out, struct err *err) MUST_USE;

#endif
