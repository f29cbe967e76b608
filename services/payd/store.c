/* The leader's transactions. A step of the follower is one of them: the cursor moves, blocks and
 * events are written, payments change state and hints are queued together or not at all. */
#include "services/payd/store.h"

#include "libcommon/eth/hex.h"
#include "libcommon/log.h"
#include "services/payd/gauges.h"
#include "services/payd/late.h"
#include "services/payd/move.h"
#include "services/payd/transfer.h"

#include <string.h>

struct store {
    struct store_options options;
    struct pg_conn *conn;
    struct follow_store view;
    int64_t epoch;
    bool hinted;
    bool relisted; /* book.h, relist */
};

/* One transaction of a step. */
struct work {
    struct store *store;
    struct book book;
    bool settled;
};

static const struct pg_stmt follower_open = {
    "follower_open",
    "INSERT INTO follower (chain_id, contract, start_block, cursor_number) "
    "VALUES ($1, $2, $3::bigint, $3::bigint - 1) "
    "ON CONFLICT (chain_id, contract) DO UPDATE SET contract = excluded.contract RETURNING id"};
static const struct pg_stmt follower_lead = {
    "follower_lead",
    "UPDATE follower SET epoch = epoch + 1, leader = $2, led_at = clock_timestamp() WHERE id = $1 "
    "RETURNING epoch"};
static const struct pg_stmt follower_beat = {
    "follower_beat",
    "UPDATE follower SET led_at = clock_timestamp() WHERE id = $1 AND epoch = $2 RETURNING epoch"};
static const struct pg_stmt follower_cursor = {
    "follower_cursor",
    "SELECT cursor_number, cursor_hash, start_block FROM follower WHERE id = $1"};
static const struct pg_stmt cursor_move = {
    "cursor_move",
    "UPDATE follower SET cursor_number = $4, cursor_hash = nullif($5::text, ''), head_number = $6, "
    "confirmed_number = $7, looked_number = least(looked_number, $4), polled_at = "
    "clock_timestamp(), led_at = clock_timestamp() WHERE id = $1 AND epoch = $2 AND cursor_number "
    "= $3 RETURNING epoch"};
static const struct pg_stmt block_kept = {
    "block_kept",
    "SELECT number, hash FROM block WHERE follower = $1 AND number <= $2 ORDER BY number DESC "
    "LIMIT 1"};
static const struct pg_stmt block_keep = {
    "block_keep", "INSERT INTO block (follower, number, hash, pinned, digest, own_digest, events) "
                  "VALUES ($1, $2, $3, $4, $5, $6, $7)"};
/* Known or not: it holds what had been left out. Several endpoints have said so ($7), or what waits
 * to be agreed on waits as it is now. */
static const struct pg_stmt block_late = {
    "block_late",
    "INSERT INTO block (follower, number, hash, pinned, events) VALUES ($1, $2, $3, true, $6) ON "
    "CONFLICT (follower, number) DO UPDATE SET pinned = true, events = excluded.events, "
    "digest = CASE WHEN NOT $7::boolean AND block.digest IS NOT NULL THEN $4::text END, "
    "own_digest = CASE WHEN NOT $7::boolean AND block.digest IS NOT NULL THEN $5::text END "
    "WHERE block.hash = excluded.hash RETURNING number"};
/* Nothing where another leads, or blocks up to the frame left the chain since it was read. */
static const struct pg_stmt looked_move = {
    "looked_move",
    "UPDATE follower SET looked_number = $4 WHERE id = $1 AND epoch = $2 AND looked_number = $3 "
    "AND EXISTS (SELECT FROM block WHERE follower = $1 AND number = $5 AND hash = $6) RETURNING "
    "epoch"};
static const struct pg_stmt block_prune = {
    "block_prune", "DELETE FROM block WHERE follower = $1 AND number <= $2 AND NOT pinned"};
static const struct pg_stmt block_drop = {"block_drop",
                                          "DELETE FROM block WHERE follower = $1 AND number > $2"};
static const struct pg_stmt claim_waiting = {
    "claim_waiting",
    "SELECT number, hash, digest, own_digest FROM (SELECT *, sum(events) OVER (ORDER BY "
    "number) AS total FROM (SELECT * FROM block WHERE follower = $1 AND digest IS NOT NULL AND "
    "number <= $2 ORDER BY number LIMIT $3) AS oldest) AS counted WHERE total <= $4 OR number = "
    "(SELECT min(number) FROM block WHERE follower = $1 AND digest IS NOT NULL) ORDER BY number"};
static const struct pg_stmt claim_agreed = {
    "claim_agreed",
    "UPDATE block SET digest = NULL WHERE follower = $1 AND digest IS NOT NULL AND number <= $3 "
    "AND (SELECT epoch FROM follower WHERE id = $1) = $2"};
static const struct pg_stmt closed_any = {
    "closed_any", "SELECT EXISTS (SELECT FROM payment WHERE follower = $1 AND state IN "
                  "('confirmed', 'activated', 'refunded') AND (block_number > $2 OR refund_block > "
                  "$2)) AS any_closed"};
static const struct pg_stmt outbox_done = {
    "outbox_done", "DELETE FROM outbox WHERE payment_id = $1 AND revision <= $2 RETURNING kind"};
static const struct pg_stmt applied_find = {
    "applied_find",
    "SELECT state, revision, block_number, activated_revision FROM payment WHERE id = $1 FOR "
    "UPDATE"};

static struct work work_of(struct store *store)
{
    return (struct work){.store = store,
                         .book = {.conn = store->conn,
                                  .options = &store->options,
                                  .epoch = store->epoch,
                                  .relist = !store->relisted}};
}

static int work_begin(struct work *work, const struct follow_cursor *from,
                      const struct follow_cursor *to, const struct follow_view *view,
                      struct err *err)
{
    struct store *store = work->store;
    AUTO_PG_RESULT PGresult *result = NULL;
    int64_t confirmed = to->number - store->options.rule.confirmations;
    if (confirmed > view->ceiling)
        confirmed = view->ceiling;
    if (pg_begin(store->conn, err) != 0 ||
        pg_run(store->conn, &cursor_move,
               PG_PARAMS(pg_num(store->options.follower).s, pg_num(store->epoch).s,
                         pg_num(from->number).s, pg_num(to->number).s, to->hash,
                         pg_num(view->head).s, pg_num(confirmed < -1 ? -1 : confirmed).s),
               &result, err) != 0)
        return -1;
    if (PQntuples(result) != 1)
        return err_set(err, "epoch %lld is over: another leader has taken over",
                       (long long)store->epoch);
    return 0;
}

static int settle(struct work *work, int64_t cursor, int64_t ceiling, struct err *err)
{
    work->settled = true;
    return book_settle(&work->book, cursor, ceiling, err);
}

static void tell_unrecorded(const struct store *store, size_t count)
{
    if (count == 0)
        return;
    log_error("too many transfers to the contract paid nothing: the smaller ones are not recorded",
              LOG_INT(COUNT, (int64_t)count));
    metric_add(metrics_cell(store->options.metrics, GAUGES_TRANSFERS_UNRECORDED, NULL),
               (int64_t)count);
}

/* Commits or rolls back, and tells of what was committed. */
static int work_end(struct work *work, int rc, struct err *err)
{
    struct store *store = work->store;
    if (rc != 0)
        pg_rollback(store->conn);
    else
        rc = pg_commit(store->conn, err);
    if (rc == 0 && move_announce(&work->book.moves, store->options.metrics))
        store->hinted = true;
    if (rc == 0) {
        tell_unrecorded(store, work->book.unrecorded);
        store->relisted = store->relisted || work->settled;
    }
    move_clear(&work->book.moves);
    return rc;
}

static void digest_text(const struct evm_event *events, size_t count, bool transfers, char out[67])
{
    struct word digest;
    claim_digest(events, count, transfers, digest.b);
    word_hex(&digest, out);
}

struct digests {
    char all[67], own[67];
};

static struct digests digests_of(const struct evm_event *events, size_t count)
{
    struct digests digests;
    digest_text(events, count, true, digests.all);
    digest_text(events, count, false, digests.own);
    return digests;
}

/* `events` are the block's. */
static int block_write(struct work *work, const struct evm_block *block,
                       const struct evm_event *events, size_t count, bool pinned, struct err *err)
{
    const struct store_options *options = &work->store->options;
    bool claimed = options->claims && count > 0;
    struct digests digests = digests_of(events, count);
    return pg_run(work->store->conn, &block_keep,
                  PG_PARAMS(pg_num(options->follower).s, pg_num(block->number).s, block->hash,
                            pinned || count > 0 ? "t" : "f", claimed ? digests.all : NULL,
                            claimed ? digests.own : NULL, pg_num((int64_t)count).s),
                  NULL, err);
}

static int blocks_write(struct work *work, const struct follow_batch *batch, bool begins,
                        struct err *err)
{
    struct store *store = work->store;
    const struct evm_events *events = &batch->events;
    size_t next = 0;
    for (size_t i = 0; i < batch->block_count; i++) {
        const struct evm_block *block = &batch->blocks[i];
        size_t first = next;
        while (next < events->count && events->items[next].block <= block->number)
            next++;
        const struct evm_event *own = next > first ? &events->items[first] : NULL;
        /* The first block of all stays too: it tells whether this is the chain at all. */
        if (block_write(work, block, own, next - first, begins && i == 0, err) != 0)
            return -1;
    }
    return pg_run(store->conn, &block_prune,
                  PG_PARAMS(pg_num(store->options.follower).s,
                            pg_num(batch->to.number - store->options.keep_blocks).s),
                  NULL, err);
}

static int on_kept(void *ctx, int64_t at_most, struct evm_block *out, bool *found, struct err *err)
{
    struct store *store = ctx;
    AUTO_PG_RESULT PGresult *result = NULL;
    if (pg_run(store->conn, &block_kept,
               PG_PARAMS(pg_num(store->options.follower).s, pg_num(at_most).s), &result, err) != 0)
        return -1;
    *found = PQntuples(result) == 1;
    *out = (struct evm_block){0};
    if (*found) {
        out->number = pg_int(result, 0, "number");
        snprintf(out->hash, sizeof(out->hash), "%s", pg_text(result, 0, "hash"));
    }
    return 0;
}

/* `missing`: only those; NULL: all. */
static int events_write(struct work *work, const struct evm_events *events, const bool *missing,
                        struct err *err)
{
    AUTO_FREE struct transfer_mark *marks = mem_array(events->count + 1, sizeof(*marks));
    transfer_match(events, marks);
    if (missing != NULL && transfer_explained(&work->book, events, marks, err) != 0)
        return -1;
    if (transfer_bound(&work->book, events, marks, err) != 0)
        return -1;
    for (size_t i = 0; i < events->count; i++) {
        const struct evm_event *event = &events->items[i];
        int rc = 0;
        if (missing != NULL && !missing[i])
            continue;
        if (event->kind != EVM_TRANSFER)
            rc = book_event(&work->book, event, err);
        else if (marks[i].unmatched)
            rc = transfer_write(&work->book, event, marks[i].ordinal, err);
        if (rc != 0)
            return -1;
    }
    return 0;
}

static int advance_write(struct work *work, const struct follow_cursor *from,
                         const struct follow_batch *batch, const struct follow_view *view,
                         struct err *err)
{
    if (work_begin(work, from, &batch->to, view, err) != 0 ||
        blocks_write(work, batch, from->hash[0] == '\0', err) != 0 ||
        events_write(work, &batch->events, NULL, err) != 0)
        return -1;
    return settle(work, batch->to.number, view->ceiling, err);
}

static int on_advance(void *ctx, const struct follow_cursor *from, const struct follow_batch *batch,
                      const struct follow_view *view, struct err *err)
{
    struct work work = work_of(ctx);
    return work_end(&work, advance_write(&work, from, batch, view, err), err);
}

static int rollback_write(struct work *work, const struct follow_cursor *from,
                          const struct follow_cursor *to, const struct follow_view *view,
                          struct err *err)
{
    struct store *store = work->store;
    if (work_begin(work, from, to, view, err) != 0 || book_undo(&work->book, to->number, err) != 0)
        return -1;
    return pg_run(store->conn, &block_drop,
                  PG_PARAMS(pg_num(store->options.follower).s, pg_num(to->number).s), NULL, err);
}

static int on_rollback(void *ctx, const struct follow_cursor *from, const struct follow_cursor *to,
                       const struct follow_view *view, struct err *err)
{
    struct work work = work_of(ctx);
    return work_end(&work, rollback_write(&work, from, to, view, err), err);
}

static int on_settle(void *ctx, const struct follow_cursor *at, const struct follow_view *view,
                     struct err *err)
{
    struct work work = work_of(ctx);
    int rc = work_begin(&work, at, at, view, err);
    if (rc == 0)
        rc = settle(&work, at->number, view->ceiling, err);
    return work_end(&work, rc, err);
}

static int block_write_late(struct work *work, const struct evm_block *block,
                            const struct evm_events *events, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    const struct store_options *options = &work->store->options;
    struct digests digests = digests_of(events->items, events->count);
    if (pg_run(work->store->conn, &block_late,
               PG_PARAMS(pg_num(options->follower).s, pg_num(block->number).s, block->hash,
                         digests.all, digests.own, pg_num((int64_t)events->count).s,
                         options->claims ? "t" : "f"),
               &row, err) != 0)
        return -1;
    return PQntuples(row) == 1
               ? 0
               : err_set(err, "block %lld is not the one that we hold", (long long)block->number);
}

/* `events` are the block's. */
static int late_block_write(struct work *work, const struct evm_block *block,
                            const struct evm_events *events, size_t *added, struct err *err)
{
    const struct store_options *options = &work->store->options;
    AUTO_FREE bool *missing = mem_array(events->count + 1, sizeof(*missing));
    size_t count = 0;
    if (late_missing(work->store->conn, options->follower, options->domain.contract, events,
                     missing, err) != 0)
        return -1;
    for (size_t i = 0; i < events->count; i++)
        count += missing[i];
    *added += count;
    if (count == 0)
        return 0;
    if (block_write_late(work, block, events, err) != 0)
        return -1;
    return events_write(work, events, missing, err);
}

static int late_write(struct work *work, const struct late *late, size_t *added, struct err *err)
{
    size_t next = 0;
    for (size_t i = 0; i < late->block_count; i++) {
        struct evm_events own = {&late->events.items[next], 0};
        while (next < late->events.count &&
               late->events.items[next].block <= late->blocks[i].number) {
            next++;
            own.count++;
        }
        if (late_block_write(work, &late->blocks[i], &own, added, err) != 0)
            return -1;
    }
    return 0;
}

static int looked_write(struct work *work, const struct late *late, bool *taken, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    const struct store *store = work->store;
    if (pg_begin(store->conn, err) != 0 ||
        pg_run(store->conn, &looked_move,
               PG_PARAMS(pg_num(store->options.follower).s, pg_num(store->epoch).s,
                         pg_num(late->looked).s, pg_num(late->to).s, pg_num(late->frame.number).s,
                         late->frame.hash),
               &row, err) != 0)
        return -1;
    *taken = PQntuples(row) == 1;
    return 0;
}

int store_late(struct store *store, const struct late *late, size_t *added, struct err *err)
{
    struct work work = work_of(store);
    bool taken = false;
    *added = 0;
    work.book.late = true;
    int rc = looked_write(&work, late, &taken, err);
    if (rc == 0 && taken)
        rc = late_write(&work, late, added, err);
    rc = work_end(&work, rc, err);
    /* What was refused for want of what came late is judged anew. */
    if (rc == 0 && *added > 0)
        store->relisted = false;
    return rc;
}

int store_open(struct pg_conn *conn, const struct quote_domain *domain, int64_t first,
               int64_t *follower, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    char contract[43];
    hex_encode(domain->contract, 20, contract);
    if (pg_run(conn, &follower_open,
               PG_PARAMS(pg_num((int64_t)domain->chain_id).s, contract, pg_num(first).s), &result,
               err) != 0)
        return -1;
    *follower = pg_int(result, 0, "id");
    return 0;
}

int store_lead(struct pg_conn *conn, const struct store_options *options, struct store **out,
               struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    if (pg_run(conn, &follower_lead, PG_PARAMS(pg_num(options->follower).s, options->instance),
               &result, err) != 0)
        return -1;
    if (PQntuples(result) != 1)
        return err_set(err, "the follower's row is gone");
    struct store *store = mem_zalloc(sizeof(*store));
    store->options = *options;
    store->conn = conn;
    store->epoch = pg_int(result, 0, "epoch");
    store->view = (struct follow_store){store, on_kept, on_advance, on_rollback, on_settle};
    *out = store;
    return 0;
}

void store_free(struct store **store)
{
    free(*store);
    *store = NULL;
}

int64_t store_epoch(const struct store *store)
{
    return store->epoch;
}

int store_cursor(struct store *store, struct follow_cursor *out, int64_t *first, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    if (pg_run(store->conn, &follower_cursor, PG_PARAMS(pg_num(store->options.follower).s), &result,
               err) != 0)
        return -1;
    if (PQntuples(result) != 1)
        return err_set(err, "the follower's row is gone");
    *out = (struct follow_cursor){.number = pg_int(result, 0, "cursor_number")};
    snprintf(out->hash, sizeof(out->hash), "%s", pg_text(result, 0, "cursor_hash"));
    *first = pg_int(result, 0, "start_block");
    return 0;
}

const struct follow_store *store_view(struct store *store)
{
    return &store->view;
}

bool store_hinted(struct store *store)
{
    bool hinted = store->hinted;
    store->hinted = false;
    return hinted;
}

int store_waiting(struct store *store, int64_t at_most, struct claim *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    struct word digest, own;
    out->count = 0;
    if (pg_run(store->conn, &claim_waiting,
               PG_PARAMS(pg_num(store->options.follower).s, pg_num(at_most).s,
                         pg_num(CLAIM_BLOCKS).s, pg_num(CLAIM_EVENTS).s),
               &rows, err) != 0)
        return -1;
    for (int row = 0; row < PQntuples(rows) && out->count < CLAIM_BLOCKS; row++) {
        struct claim_block *block = &out->blocks[out->count++];
        block->at = (struct follow_cursor){.number = pg_int(rows, row, "number")};
        snprintf(block->at.hash, sizeof(block->at.hash), "%s", pg_text(rows, row, "hash"));
        if (word_from_hex(pg_text(rows, row, "digest"), &digest) != 0 ||
            word_from_hex(pg_text(rows, row, "own_digest"), &own) != 0)
            return err_set(err, "block %lld: its digest is none", (long long)block->at.number);
        memcpy(block->digest, digest.b, sizeof(block->digest));
        memcpy(block->own, own.b, sizeof(block->own));
    }
    return 0;
}

int store_closed(struct store *store, int64_t above, bool *any, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    if (pg_run(store->conn, &closed_any,
               PG_PARAMS(pg_num(store->options.follower).s, pg_num(above).s), &row, err) != 0)
        return -1;
    *any = pg_bool(row, 0, "any_closed");
    return 0;
}

int store_agreed(struct store *store, int64_t number, struct err *err)
{
    return pg_run(
        store->conn, &claim_agreed,
        PG_PARAMS(pg_num(store->options.follower).s, pg_num(store->epoch).s, pg_num(number).s),
        NULL, err);
}

int store_beat(struct store *store, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    if (pg_run(store->conn, &follower_beat,
               PG_PARAMS(pg_num(store->options.follower).s, pg_num(store->epoch).s), &result,
               err) != 0)
        return -1;
    if (PQntuples(result) != 1)
        return err_set(err, "epoch %lld is over: another leader has taken over",
                       (long long)store->epoch);
    return 0;
}

static int applied_write(struct pg_conn *conn, const char *payment, int64_t revision, bool refused,
                         struct moves *moves, bool *known, bool *current, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    AUTO_PG_RESULT PGresult *done = NULL;
    struct move_from from = {.payment = payment, .revision = revision};
    *known = *current = false;
    if (pg_run(conn, &applied_find, PG_PARAMS(payment), &row, err) != 0)
        return -1;
    *known = PQntuples(row) == 1;
    if (!*known)
        return 0;
    if (ledger_parse(pg_text(row, 0, "state"), &from.state) != 0)
        return err_set(err, "payment %s: state is not one we know", payment);
    if (pg_run(conn, &outbox_done, PG_PARAMS(payment, pg_num(revision).s), &done, err) != 0)
        return -1;
    int64_t now = pg_int(row, 0, "revision");
    from.block = pg_int(row, 0, "block_number");
    if (from.state == LEDGER_CONFIRMED && now == revision && !refused) {
        *current = true;
        return move_write(conn, &from, LEDGER_APPLIED, NULL, 0, moves, err);
    }
    /* It may tell of the row as it is now, or again of what it has told before. */
    bool before =
        from.state == LEDGER_ACTIVATED && pg_int(row, 0, "activated_revision") == revision;
    *current = now == revision || before || PQntuples(done) == 1;
    return 0;
}

int store_applied(struct pg_conn *conn, const char *payment, int64_t revision, bool refused,
                  struct metrics *metrics, bool *known, bool *current, struct err *err)
{
    AUTO_MOVES struct moves moves = {0};
    if (pg_begin(conn, err) != 0)
        return -1;
    if (applied_write(conn, payment, revision, refused, &moves, known, current, err) != 0) {
        pg_rollback(conn);
        return -1;
    }
    if (pg_commit(conn, err) != 0)
        return -1;
    move_announce(&moves, metrics);
    return 0;
}
