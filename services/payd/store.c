/* The leader's transactions. A step of the follower is one of them: the cursor moves, blocks and
 * events are written, payments change state and hints are queued together or not at all. */
#include "services/payd/store.h"

#include "libcommon/eth/hex.h"
#include "libcommon/log.h"
#include "services/payd/gauges.h"
#include "services/payd/move.h"

#include <string.h>

#define SETTLE_BATCH 500 /* open payments judged in one step */

struct store {
    struct store_options options;
    struct pg_conn *conn;
    struct follow_store view;
    int64_t epoch;
    bool hinted;
};

/* One transaction of a step. */
struct work {
    struct store *store;
    struct moves moves;
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
    "confirmed_number = $7, polled_at = clock_timestamp(), led_at = clock_timestamp() "
    "WHERE id = $1 AND epoch = $2 AND cursor_number = $3 RETURNING epoch"};
static const struct pg_stmt block_kept = {
    "block_kept",
    "SELECT number, hash FROM block WHERE follower = $1 AND number <= $2 ORDER BY number DESC "
    "LIMIT 1"};
static const struct pg_stmt block_keep = {
    "block_keep", "INSERT INTO block (follower, number, hash, pinned) VALUES ($1, $2, $3, $4)"};
static const struct pg_stmt block_prune = {
    "block_prune", "DELETE FROM block WHERE follower = $1 AND number <= $2 AND NOT pinned"};
static const struct pg_stmt block_drop = {"block_drop",
                                          "DELETE FROM block WHERE follower = $1 AND number > $2"};
static const struct pg_stmt slot_drop = {
    "slot_drop", "DELETE FROM slot_event WHERE follower = $1 AND block_number > $2"};
static const struct pg_stmt slot_add = {
    "slot_add",
    "INSERT INTO slot_event (follower, block_number, log_index, kind, subscriber, service_id, seq, "
    "terms, revoked) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"};
static const struct pg_stmt slot_seq = {
    "slot_seq",
    "SELECT seq FROM slot_event WHERE follower = $1 AND subscriber = $2 AND service_id = $3 AND "
    "kind = 'paid' ORDER BY block_number DESC, log_index DESC LIMIT 1"};
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
static const struct pg_stmt payment_redeem = {
    "payment_redeem",
    "SELECT id, revision, state, block_number FROM payment WHERE follower = $1 AND state = "
    "'rejected' AND reason = 'unknown-plan' AND plan_known(plan) ORDER BY block_number LIMIT 100 "
    "FOR UPDATE"};
static const struct pg_stmt payment_above = {
    "payment_above",
    "SELECT id, revision, state, block_number FROM payment WHERE follower = $1 AND block_number > "
    "$2 AND state NOT IN ('orphaned', 'refunded') ORDER BY block_number, log_index FOR UPDATE"};
static const struct pg_stmt outbox_done = {
    "outbox_done", "DELETE FROM outbox WHERE payment_id = $1 AND revision <= $2 RETURNING kind"};
static const struct pg_stmt applied_find = {
    "applied_find",
    "SELECT state, revision, block_number, activated_revision FROM payment WHERE id = $1 FOR "
    "UPDATE"};

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

/* Commits or rolls back, and tells of what was committed. */
static int work_end(struct work *work, int rc, struct err *err)
{
    struct store *store = work->store;
    if (rc != 0)
        pg_rollback(store->conn);
    else
        rc = pg_commit(store->conn, err);
    if (rc == 0 && move_announce(&work->moves, store->options.metrics))
        store->hinted = true;
    move_clear(&work->moves);
    return rc;
}

static int move_row(struct work *work, const PGresult *result, int row, enum ledger_cause cause,
                    const char *reason, struct err *err)
{
    struct move_from from = {.payment = pg_text(result, row, "id"),
                             .revision = pg_int(result, row, "revision"),
                             .block = pg_int(result, row, "block_number")};
    if (ledger_parse(pg_text(result, row, "state"), &from.state) != 0)
        return err_set(err, "payment %s: state is not one we know", from.payment);
    return move_write(work->store->conn, &from, cause, reason, work->store->epoch, &work->moves,
                      err);
}

struct paid {
    const struct evm_event *event;
    struct quote quote;
    struct quote_terms terms;
    char id[67], subscriber[43], service_id[67], token[43], terms_hex[67], amount[80];
    char subscription[QUOTE_SUBSCRIPTION_ID];
};

static void paid_read(const struct store *store, const struct evm_event *event, struct paid *out)
{
    *out = (struct paid){.event = event};
    memcpy(out->quote.subscriber, event->subscriber, 20);
    memcpy(out->quote.token, event->token, 20);
    out->quote.service_id = event->service_id;
    out->quote.terms = event->terms;
    quote_terms_unpack(&event->terms, &out->terms);
    struct word digest = quote_digest(&store->options.domain, &out->quote);
    word_hex(&digest, out->id);
    hex_encode(event->subscriber, 20, out->subscriber);
    hex_encode(event->token, 20, out->token);
    word_hex(&event->service_id, out->service_id);
    word_hex(&event->terms, out->terms_hex);
    word_decimal(&event->amount, out->amount);
    quote_subscription_id(&store->options.domain, event->subscriber, &event->service_id,
                          out->subscription);
}

static int paid_insert(struct work *work, const struct paid *paid, struct err *err)
{
    const struct evm_event *event = paid->event;
    const struct quote_terms *terms = &paid->terms;
    struct move move = {.revision = 1, .first = true, .block = event->block};
    char amount[24];
    snprintf(amount, sizeof(amount), "%llu", (unsigned long long)terms->paid);
    if (pg_run(work->store->conn, &payment_add,
               PG_PARAMS(paid->id, pg_num(work->store->options.follower).s, paid->subscriber,
                         paid->service_id, paid->token, paid->terms_hex, paid->amount, amount,
                         pg_num(terms->plan).s, pg_num(terms->seq).s, pg_num(terms->start).s,
                         pg_num(terms->expiry).s, paid->subscription, event->tx_hash,
                         pg_num(event->block).s, event->block_hash, pg_num(event->log_index).s,
                         pg_num(work->store->epoch).s),
               NULL, err) != 0)
        return -1;
    snprintf(move.payment, sizeof(move.payment), "%s", paid->id);
    move.move = (struct ledger_move){LEDGER_SEEN, LEDGER_SEEN, LEDGER_HINT_NONE};
    move_add(&work->moves, &move);
    return 0;
}

static int paid_again(struct work *work, const struct paid *paid, const PGresult *row,
                      struct err *err)
{
    const struct evm_event *event = paid->event;
    struct move_from from = {
        .payment = paid->id, .revision = pg_int(row, 0, "revision"), .block = event->block};
    if (ledger_parse(pg_text(row, 0, "state"), &from.state) != 0 || from.state != LEDGER_ORPHANED)
        return err_set(err, "payment %s stands on the chain twice, says the node", paid->id);
    if (pg_run(work->store->conn, &payment_place,
               PG_PARAMS(paid->id, event->tx_hash, pg_num(event->block).s, event->block_hash,
                         pg_num(event->log_index).s, paid->amount),
               NULL, err) != 0)
        return -1;
    return move_write(work->store->conn, &from, LEDGER_MINED, NULL, work->store->epoch,
                      &work->moves, err);
}

static int seq_before(struct store *store, const struct paid *paid, uint16_t *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    if (pg_run(store->conn, &slot_seq,
               PG_PARAMS(pg_num(store->options.follower).s, paid->subscriber, paid->service_id),
               &result, err) != 0)
        return -1;
    *out = PQntuples(result) == 0 ? 0 : (uint16_t)pg_int(result, 0, "seq");
    return 0;
}

static int objection(struct store *store, const struct paid *paid, const char **out,
                     struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    uint16_t seq;
    if (seq_before(store, paid, &seq, err) != 0)
        return -1;
    *out = ledger_objection(&paid->terms, paid->quote.token, seq, store->options.tokens,
                            store->options.token_count);
    if (*out != NULL)
        return 0;
    if (pg_run(store->conn, &plan_known, PG_PARAMS(pg_num(paid->terms.plan).s), &result, err) != 0)
        return -1;
    if (!pg_null(result, 0, "known") && !pg_bool(result, 0, "known"))
        *out = LEDGER_UNKNOWN_PLAN;
    return 0;
}

static int slot_write(struct work *work, const struct evm_event *event, int64_t seq,
                      const char *terms, struct err *err)
{
    char subscriber[43], service_id[67];
    bool paid = event->kind == EVM_PAID;
    hex_encode(event->subscriber, 20, subscriber);
    word_hex(&event->service_id, service_id);
    return pg_run(work->store->conn, &slot_add,
                  PG_PARAMS(pg_num(work->store->options.follower).s, pg_num(event->block).s,
                            pg_num(event->log_index).s, paid ? "paid" : "revoked", subscriber,
                            service_id, pg_num(seq).s, terms,
                            paid ? NULL : (event->revoked ? "t" : "f")),
                  NULL, err);
}

static int paid_write(struct work *work, const struct evm_event *event, struct err *err)
{
    struct store *store = work->store;
    AUTO_PG_RESULT PGresult *found = NULL;
    struct paid paid;
    const char *why;
    paid_read(store, event, &paid);
    if (objection(store, &paid, &why, err) != 0 ||
        pg_run(store->conn, &payment_find, PG_PARAMS(paid.id), &found, err) != 0)
        return -1;
    int rc =
        PQntuples(found) == 0 ? paid_insert(work, &paid, err) : paid_again(work, &paid, found, err);
    if (rc != 0 || slot_write(work, event, paid.terms.seq, paid.terms_hex, err) != 0)
        return -1;
    if (why == NULL)
        return 0;
    struct move_from from = {.payment = paid.id,
                             .revision = work->moves.items[work->moves.count - 1].revision,
                             .state = LEDGER_SEEN,
                             .block = event->block};
    return move_write(store->conn, &from, LEDGER_REFUSED, why, store->epoch, &work->moves, err);
}

static int event_write(struct work *work, const struct evm_event *event, struct err *err)
{
    switch (event->kind) {
    case EVM_PAID:
        return paid_write(work, event, err);
    case EVM_REVOKED:
        return slot_write(work, event, event->seq, NULL, err);
    }
    return 0;
}

static int blocks_write(struct work *work, const struct follow_batch *batch, bool begins,
                        struct err *err)
{
    struct store *store = work->store;
    size_t next = 0;
    for (size_t i = 0; i < batch->block_count; i++) {
        const struct evm_block *block = &batch->blocks[i];
        /* The first block of all stays too: it tells whether this is the chain at all. */
        bool pinned = begins && i == 0;
        for (; next < batch->events.count && batch->events.items[next].block <= block->number;
             next++)
            pinned = true;
        if (pg_run(store->conn, &block_keep,
                   PG_PARAMS(pg_num(store->options.follower).s, pg_num(block->number).s,
                             block->hash, pinned ? "t" : "f"),
                   NULL, err) != 0)
            return -1;
    }
    return pg_run(store->conn, &block_prune,
                  PG_PARAMS(pg_num(store->options.follower).s,
                            pg_num(batch->to.number - store->options.keep_blocks).s),
                  NULL, err);
}

static int judge(struct work *work, const PGresult *open, const struct follow_cursor *at,
                 const struct follow_view *view, struct err *err)
{
    for (int row = 0; row < PQntuples(open); row++) {
        enum ledger_state state;
        enum ledger_cause cause;
        if (ledger_parse(pg_text(open, row, "state"), &state) != 0)
            return err_set(err, "payment %s: state is not one we know", pg_text(open, row, "id"));
        if (ledger_judge(&work->store->options.rule, state, pg_int(open, row, "block_number"),
                         at->number, view->ceiling, pg_int(open, row, "age_ms"), &cause) &&
            move_row(work, open, row, cause, NULL, err) != 0)
            return -1;
    }
    return 0;
}

static int settle(struct work *work, const struct follow_cursor *at, const struct follow_view *view,
                  struct err *err)
{
    struct store *store = work->store;
    AUTO_PG_RESULT PGresult *redeemed = NULL;
    AUTO_PG_RESULT PGresult *open = NULL;
    if (pg_run(store->conn, &payment_redeem, PG_PARAMS(pg_num(store->options.follower).s),
               &redeemed, err) != 0)
        return -1;
    for (int row = 0; row < PQntuples(redeemed); row++) {
        if (move_row(work, redeemed, row, LEDGER_REDEEMED, NULL, err) != 0)
            return -1;
    }
    if (pg_run(store->conn, &payment_open,
               PG_PARAMS(pg_num(store->options.follower).s, pg_num(at->number).s,
                         pg_num(SETTLE_BATCH).s),
               &open, err) != 0)
        return -1;
    return judge(work, open, at, view, err);
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

static int advance_write(struct work *work, const struct follow_cursor *from,
                         const struct follow_batch *batch, const struct follow_view *view,
                         struct err *err)
{
    if (work_begin(work, from, &batch->to, view, err) != 0 ||
        blocks_write(work, batch, from->hash[0] == '\0', err) != 0)
        return -1;
    for (size_t i = 0; i < batch->events.count; i++) {
        if (event_write(work, &batch->events.items[i], err) != 0)
            return -1;
    }
    return settle(work, &batch->to, view, err);
}

static int on_advance(void *ctx, const struct follow_cursor *from, const struct follow_batch *batch,
                      const struct follow_view *view, struct err *err)
{
    struct work work = {.store = ctx};
    return work_end(&work, advance_write(&work, from, batch, view, err), err);
}

static int rollback_write(struct work *work, const struct follow_cursor *from,
                          const struct follow_cursor *to, const struct follow_view *view,
                          struct err *err)
{
    struct store *store = work->store;
    AUTO_PG_RESULT PGresult *above = NULL;
    if (work_begin(work, from, to, view, err) != 0 ||
        pg_run(store->conn, &payment_above,
               PG_PARAMS(pg_num(store->options.follower).s, pg_num(to->number).s), &above,
               err) != 0)
        return -1;
    for (int row = 0; row < PQntuples(above); row++) {
        if (move_row(work, above, row, LEDGER_CUT_OFF, NULL, err) != 0)
            return -1;
    }
    if (pg_run(store->conn, &slot_drop,
               PG_PARAMS(pg_num(store->options.follower).s, pg_num(to->number).s), NULL, err) != 0)
        return -1;
    return pg_run(store->conn, &block_drop,
                  PG_PARAMS(pg_num(store->options.follower).s, pg_num(to->number).s), NULL, err);
}

static int on_rollback(void *ctx, const struct follow_cursor *from, const struct follow_cursor *to,
                       const struct follow_view *view, struct err *err)
{
    struct work work = {.store = ctx};
    return work_end(&work, rollback_write(&work, from, to, view, err), err);
}

static int on_settle(void *ctx, const struct follow_cursor *at, const struct follow_view *view,
                     struct err *err)
{
    struct work work = {.store = ctx};
    int rc = work_begin(&work, at, at, view, err);
    if (rc == 0)
        rc = settle(&work, at, view, err);
    return work_end(&work, rc, err);
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

static int applied_write(struct pg_conn *conn, const char *payment, int64_t revision,
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
    if (from.state == LEDGER_CONFIRMED && now == revision) {
        *current = true;
        return move_write(conn, &from, LEDGER_APPLIED, NULL, 0, moves, err);
    }
    /* It may tell of the row as it is now, or again of what it has told before. */
    bool before =
        from.state == LEDGER_ACTIVATED && pg_int(row, 0, "activated_revision") == revision;
    *current = now == revision || before || PQntuples(done) == 1;
    return 0;
}

int store_applied(struct pg_conn *conn, const char *payment, int64_t revision,
                  struct metrics *metrics, bool *known, bool *current, struct err *err)
{
    AUTO_MOVES struct moves moves = {0};
    if (pg_begin(conn, err) != 0)
        return -1;
    if (applied_write(conn, payment, revision, &moves, known, current, err) != 0) {
        pg_rollback(conn);
        return -1;
    }
    if (pg_commit(conn, err) != 0)
        return -1;
    move_announce(&moves, metrics);
    return 0;
}
