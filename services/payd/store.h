/* What the leader writes: cursor, blocks, payments, slots and outbox, in one PostgreSQL transaction
 * for each step of the follower. Every transaction begins by checking the leader's epoch on the
 * follower's row, which also serialises all writers: a leader that was replaced commits nothing. */
#ifndef PAYD_STORE_H
#define PAYD_STORE_H

#include "libcommon/pg.h"
#include "services/payd/claim.h"
#include "services/payd/late.h"
#include "services/payd/ledger.h"

struct store;

struct store_options {
    int64_t follower; /* the row that store_open gave */
    struct quote_domain domain;
    struct ledger_rule rule;
    const struct ledger_token *tokens; /* kept, not copied */
    size_t token_count;
    int64_t keep_blocks; /* newest blocks kept whether they have events or not */
    bool claims;         /* what is read is to be agreed on before it is confirmed */
    const char *instance;
    struct metrics *metrics;
};

/* The follower's row for this chain and contract, made where absent. Any instance. */
int store_open(struct pg_conn *conn, const struct quote_domain *domain, int64_t first,
               int64_t *follower, struct err *err) MUST_USE;

/* Begins a new epoch: earlier leaders can write no more. `conn` holds the lock; not owned. */
int store_lead(struct pg_conn *conn, const struct store_options *options, struct store **out,
               struct err *err) MUST_USE;
void store_free(struct store **store);
int64_t store_epoch(const struct store *store);

/* Where the last committed step ended, and the first block to be read at all. */
int store_cursor(struct store *store, struct follow_cursor *out, int64_t *first,
                 struct err *err) MUST_USE;
/* Lives as long as the store. */
const struct follow_store *store_view(struct store *store);
/* True once after a step that queued a hint. */
bool store_hinted(struct store *store);

/* Writes down how far the second reading has come, and adds what of it is missing as a step would
 * have; *added: so many events. Nothing where blocks up to its frame have left the chain since. */
int store_late(struct store *store, const struct late *late, size_t *added,
               struct err *err) MUST_USE;

/* The oldest blocks up to at_most with events that were not agreed on yet, as many as a claim
 * takes.
 */
int store_waiting(struct store *store, int64_t at_most, struct claim *out,
                  struct err *err) MUST_USE;
/* Whether a payment in a block above this one was confirmed, or sent back. */
int store_closed(struct store *store, int64_t above, bool *any, struct err *err) MUST_USE;
/* All of them up to this block are agreed on. */
int store_agreed(struct store *store, int64_t number, struct err *err) MUST_USE;
/* Shows that there is a leader although the chain gives no answer; -1 also where the epoch is over.
 */
int store_beat(struct store *store, struct err *err) MUST_USE;

/* subd applied the payment as it was at `revision`: hints up to it are done, and confirmed becomes
 * activated, unless subd refused to. Any instance; twice is once. *known is false where there is no
 * such payment, *current where the payment has moved on since and subd must read it again. */
int store_applied(struct pg_conn *conn, const char *payment, int64_t revision, bool refused,
                  struct metrics *metrics, bool *known, bool *current, struct err *err) MUST_USE;

#endif
