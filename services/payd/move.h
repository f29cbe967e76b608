/* One move of a payment or of a transfer that paid nothing as rows: the thing itself, its line in
 * the audit trail, the hint for subd and the event for everybody, in one statement. Shared by the
 * leader's steps and by the answer of subd. */
#ifndef PAYD_MOVE_H
#define PAYD_MOVE_H

#include "libcommon/pg.h"
#include "services/payd/ledger.h"

#define MOVE_ID 67

/* What was moved, kept until the transaction is committed: only then it is counted and logged. */
struct move {
    char payment[MOVE_ID]; /* or the transfer's id */
    bool transfer;
    int64_t revision;
    bool first;
    struct ledger_move move;
    int64_t block;
    char reason[32];
};

struct moves {
    struct move *items; /* owned */
    size_t count;
};

void move_add(struct moves *moves, const struct move *move);
void move_clear(struct moves *moves);
#define AUTO_MOVES CLEANUP(move_clear)
/* Counts and logs them; true where there is something for the relays. */
bool move_announce(const struct moves *moves, struct metrics *metrics);

struct move_from {
    const char *payment;
    int64_t revision;
    enum ledger_state state;
    enum ledger_state before; /* a refund; for LEDGER_UNREPAID */
    int64_t block;
};

/* -1 too where the payment is no longer at this revision. epoch 0: not a leader's write. reason may
 * be NULL. */
int move_write(struct pg_conn *conn, const struct move_from *from, enum ledger_cause cause,
               const char *reason, int64_t epoch, struct moves *moves, struct err *err) MUST_USE;
/* The same for a transfer that paid nothing: nobody is told. */
int move_write_transfer(struct pg_conn *conn, const struct move_from *from, enum ledger_cause cause,
                        int64_t epoch, struct moves *moves, struct err *err) MUST_USE;

#endif
