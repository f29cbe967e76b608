/* Reads the published views payments.payment_v1 and payments.transfer_v1 and nothing else of that
 * schema. Pages go by the place on the chain, newest first, as an operator looks for what just
 * happened; rows come as JSON from the database, in the order of these lists. */
#include "services/adminsvc/payments.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RFC3339 "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'"
#define PAYMENT                                                                                    \
    "json_build_object('id', payment_id, 'state', state, 'reason', reason, 'revision', revision, " \
    "'chain_id', chain_id, 'contract', contract, 'subscriber', subscriber, 'service_id', "         \
    "service_id, 'subscription', subscription, 'token', token, 'amount', amount::text, 'paid', "   \
    "paid::text, 'plan', plan, 'seq', seq, 'tx_hash', tx_hash, 'block_number', block_number, "     \
    "'seen_at', to_char(seen_at, " RFC3339 "), 'confirmed_at', to_char(confirmed_at, " RFC3339     \
    "), 'activated_at', to_char(activated_at, " RFC3339 "), 'refund', CASE WHEN refund_tx IS NOT " \
    "NULL THEN json_build_object('tx_hash', refund_tx, 'block_number', refund_block, 'amount', "   \
    "refund_amount::text, 'at', to_char(refunded_at, " RFC3339 ")) END)::text AS item"
#define TRANSFER                                                                                   \
    "json_build_object('id', transfer_id, 'state', state, 'revision', revision, 'chain_id', "      \
    "chain_id, 'contract', contract, 'token', token, 'sender', sender, 'amount', amount::text, "   \
    "'tx_hash', tx_hash, 'ordinal', ordinal, 'block_number', block_number, 'seen_at', "            \
    "to_char(seen_at, " RFC3339 "), 'confirmed_at', to_char(confirmed_at, " RFC3339                \
    "), 'same_as', same_as, 'sender_payments', sender_payments, 'refund', CASE WHEN refund_tx IS " \
    "NOT NULL THEN json_build_object('tx_hash', refund_tx, 'block_number', refund_block, 'to', "   \
    "refund_to, 'amount', refund_amount::text, 'at', to_char(refunded_at, " RFC3339                \
    ")) END)::text AS item"
/* Where a block has left the chain, two may have had one place. */
#define PLACE(id) "block_number, log_index, substr(" id ", 3, 16) AS tie, "
#define PAGE(who, id)                                                                              \
    " WHERE ($1 = '' OR state = $1) AND ($2 = '' OR " who                                          \
    " = $2) AND (block_number, log_index, substr(" id ", 3, 16)) < "                               \
    "($3::bigint, $4::int, $5::text) ORDER BY block_number DESC, log_index DESC, tie DESC LIMIT "  \
    "$6"

static const struct pg_stmt page_stmt = {
    "admin_payments_page", "SELECT " PLACE("payment_id") PAYMENT
    " FROM payments.payment_v1" PAGE("subscriber", "payment_id")};
static const struct pg_stmt get_stmt = {
    "admin_payments_get", "SELECT " PAYMENT " FROM payments.payment_v1 WHERE payment_id = $1"};
static const struct pg_stmt transfers_stmt = {
    "admin_transfers_page", "SELECT " PLACE("transfer_id") TRANSFER
    " FROM payments.transfer_v1" PAGE("sender", "transfer_id")};

bool payments_position_valid(const char *text, size_t len)
{
    size_t block = strspn(text, "0123456789");
    if (block < 1 || block > 18 || text[block] != ':')
        return false;
    size_t log = strspn(text + block + 1, "0123456789");
    const char *tie = text + block + 1 + log;
    return log >= 1 && log <= 9 && tie[0] == ':' && strspn(tie + 1, "0123456789abcdef") == 16 &&
           tie + 17 == text + len;
}

struct position {
    int64_t block, log;
    const char *tie;
};

/* Of a valid one; "": before all. */
static struct position position_of(const char *text)
{
    struct position out = {INT64_MAX, 0, ""};
    char *end;
    if (text[0] == '\0')
        return out;
    out.block = strtoll(text, &end, 10);
    out.log = strtoll(end + 1, &end, 10);
    out.tie = end + 1;
    return out;
}

static int item_of(const PGresult *rows, int row, json_t **out, struct err *err)
{
    const char *text = pg_text(rows, row, "item");
    return json_parse(text, strlen(text), out, err);
}

static int page(struct pg_conn *conn, const struct pg_stmt *stmt,
                const struct payments_filter *filter, json_t **out, char next[PAYMENTS_POSITION],
                struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    AUTO_JSON json_t *items = json_array();
    struct position before = position_of(filter->before);
    struct pg_num limit = pg_num(filter->limit + 1);
    next[0] = '\0';
    if (pg_run(conn, stmt,
               PG_PARAMS(filter->state, filter->subscriber, pg_num(before.block).s,
                         pg_num(before.log).s, before.tie, limit.s),
               &rows, err) != 0)
        return -1;
    for (int i = 0; i < PQntuples(rows) && i < filter->limit; i++) {
        json_t *item;
        if (item_of(rows, i, &item, err) != 0)
            return -1;
        json_array_append_new(items, item);
        if (i + 1 == filter->limit && PQntuples(rows) > filter->limit)
            snprintf(next, PAYMENTS_POSITION, "%" PRId64 ":%" PRId64 ":%s",
                     pg_int(rows, i, "block_number"), pg_int(rows, i, "log_index"),
                     pg_text(rows, i, "tie"));
    }
    *out = MEM_STEAL(items);
    return 0;
}

int payments_page(struct pg_conn *conn, const struct payments_filter *filter, json_t **out,
                  char next[PAYMENTS_POSITION], struct err *err)
{
    return page(conn, &page_stmt, filter, out, next, err);
}

int payments_transfers(struct pg_conn *conn, const struct payments_filter *filter, json_t **out,
                       char next[PAYMENTS_POSITION], struct err *err)
{
    return page(conn, &transfers_stmt, filter, out, next, err);
}

int payments_get(struct pg_conn *conn, const char *id, json_t **out, struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    *out = NULL;
    if (pg_run(conn, &get_stmt, PG_PARAMS(id), &rows, err) != 0)
        return -1;
    return PQntuples(rows) == 1 ? item_of(rows, 0, out, err) : 0;
}
