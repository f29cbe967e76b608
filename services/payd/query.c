/* Reads for answers: one statement each, so that what is told was true at one moment. */
#include "services/payd/query.h"

#include "libcommon/eth/hex.h"

#include <string.h>

static const struct pg_stmt status_stmt = {
    "status",
    "SELECT cursor_number, head_number, confirmed_number, "
    "(extract(epoch FROM clock_timestamp() - polled_at) * 1000)::bigint AS polled_ms, "
    "(extract(epoch FROM clock_timestamp() - led_at) * 1000)::bigint AS led_ms, "
    "extract(epoch FROM polled_at)::bigint AS polled_s, "
    "coalesce((SELECT (extract(epoch FROM clock_timestamp() - since) * 1000)::bigint FROM "
    "chain_trouble t WHERE t.follower = $1 AND kind = 'disagreement'), 0) AS disagreed_ms "
    "FROM follower WHERE id = $1"};
static const struct pg_stmt slot_stmt = {
    "slot",
    "SELECT (SELECT terms FROM slot_event WHERE follower = $1 AND subscriber = $2 AND service_id = "
    "$3 AND kind IN ('paid', 'refunded') ORDER BY block_number DESC, log_index DESC LIMIT 1) AS "
    "terms, "
    "(SELECT revoked FROM slot_event WHERE follower = $1 AND subscriber = $2 AND service_id = $3 "
    "AND kind = 'revoked' ORDER BY block_number DESC, log_index DESC LIMIT 1) AS revoked, "
    "EXISTS (SELECT FROM payment WHERE follower = $1 AND subscriber = $2 AND service_id = $3 AND "
    "state IN ('seen', 'confirming')) AS pending, "
    "(SELECT signer FROM signer_event WHERE follower = $1 ORDER BY block_number DESC, log_index "
    "DESC LIMIT 1) AS signer"};
static const struct pg_stmt payment_stmt = {
    "payment",
    "SELECT p.*, f.cursor_number, f.chain_id, f.contract, extract(epoch FROM seen_at)::bigint AS "
    "seen_s, floor(extract(epoch FROM confirmed_at))::bigint AS confirmed_s, extract(epoch FROM "
    "activated_at)::bigint AS activated_s, extract(epoch FROM refunded_at)::bigint AS refunded_s, "
    "(SELECT j.state FROM wallet_job j WHERE j.follower = p.follower AND j.key = 'refund:' || "
    "p.id) AS refund_state "
    "FROM payment p JOIN follower f ON f.id = p.follower "
    "WHERE p.id = $1"};
static const struct pg_stmt receipt_stmt = {
    "receipt",
    "SELECT p.state, p.subscriber, p.service_id, p.token, p.terms, p.amount, p.tx_hash, "
    "p.block_number, floor(extract(epoch FROM p.confirmed_at))::bigint AS confirmed_s, n.* FROM "
    "payment p, sold_names(p.plan, p.service_id) n WHERE p.follower = $1 AND p.id = $2"};
static const struct pg_stmt states_stmt = {
    "states",
    "SELECT state, count(*) AS count FROM payment WHERE follower = $1 AND state <> 'activated' "
    "GROUP BY state"};
static const struct pg_stmt transfer_states_stmt = {
    "transfer_states",
    "SELECT state, count(*) AS count FROM transfer WHERE follower = $1 GROUP BY state"};
static const struct pg_stmt outbox_stmt = {
    "outbox",
    "SELECT count(*) AS count, coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), "
    "0)::bigint AS age_s FROM outbox WHERE follower = $1"};
static const struct pg_stmt events_stmt = {"events",
                                           "SELECT count(*) AS count, coalesce(extract(epoch FROM "
                                           "clock_timestamp() - min(at)), 0)::bigint "
                                           "AS age_s FROM event_outbox WHERE follower = $1"};

int query_status(struct pg_conn *conn, int64_t follower, struct query_status *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    if (pg_run(conn, &status_stmt, PG_PARAMS(pg_num(follower).s), &row, err) != 0)
        return -1;
    if (PQntuples(row) != 1)
        return err_set(err, "the follower's row is gone");
    *out = (struct query_status){
        .cursor = pg_int(row, 0, "cursor_number"),
        .head = pg_int(row, 0, "head_number"),
        .confirmed = pg_int(row, 0, "confirmed_number"),
        .polled_ms = pg_null(row, 0, "polled_ms") ? INT64_MAX : pg_int(row, 0, "polled_ms"),
        .led_ms = pg_null(row, 0, "led_ms") ? INT64_MAX : pg_int(row, 0, "led_ms"),
        .polled_at = pg_int(row, 0, "polled_s"),
        .disagreed_ms = pg_int(row, 0, "disagreed_ms"),
    };
    return 0;
}

const char *query_unwell(const struct query_status *status, int64_t stale_after_ms)
{
    if (status->polled_ms > stale_after_ms)
        return "no endpoint has answered for a while";
    if (status->disagreed_ms > stale_after_ms)
        return "the endpoints contradict each other: no payment could be confirmed";
    return NULL;
}

static int signer_read(const PGresult *row, char out[43], struct err *err)
{
    uint8_t address[20];
    out[0] = '\0';
    if (pg_null(row, 0, "signer"))
        return 0;
    if (hex_decode(pg_text(row, 0, "signer"), address, sizeof(address)) != 0)
        return err_set(err, "the signer is not an address");
    hex_address_format(address, out);
    return 0;
}

int query_slot(struct pg_conn *conn, int64_t follower, const struct payment_slot_request *request,
               struct payment_slot *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    char subscriber[43], service_id[67];
    hex_encode(request->subscriber, 20, subscriber);
    word_hex(&request->service_id, service_id);
    if (pg_run(conn, &slot_stmt, PG_PARAMS(pg_num(follower).s, subscriber, service_id), &row,
               err) != 0)
        return -1;
    out->slot = (struct word){{0}};
    if (!pg_null(row, 0, "terms") && word_from_hex(pg_text(row, 0, "terms"), &out->slot) != 0)
        return err_set(err, "the slot's terms are not a word");
    out->revoked = pg_bool(row, 0, "revoked");
    out->pending = pg_bool(row, 0, "pending");
    return signer_read(row, out->signer, err);
}

static json_t *address_json(const char *lower)
{
    uint8_t address[20];
    char text[43];
    if (hex_decode(lower, address, sizeof(address)) != 0)
        return json_null();
    hex_address_format(address, text);
    return json_string(text);
}

static json_t *time_json(const PGresult *row, const char *column)
{
    return pg_null(row, 0, column) ? json_null() : json_integer(pg_int(row, 0, column));
}

static json_t *text_json(const PGresult *row, const char *column)
{
    return pg_null(row, 0, column) ? json_null() : json_string(pg_text(row, 0, column));
}

static void put(json_t *object, const char *key, json_t *value)
{
    json_object_set_new(object, key, value);
}

static void put_terms(json_t *out, const PGresult *row)
{
    static const char *const texts[] = {"service_id", "subscription", "terms"};
    put(out, "subscriber", address_json(pg_text(row, 0, "subscriber")));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        put(out, texts[i], text_json(row, texts[i]));
    put(out, "plan", json_integer(pg_int(row, 0, "plan")));
    put(out, "seq", json_integer(pg_int(row, 0, "seq")));
    put(out, "start", json_integer(pg_int(row, 0, "start_at")));
    put(out, "expiry", json_integer(pg_int(row, 0, "expires_at")));
    put(out, "token", address_json(pg_text(row, 0, "token")));
    put(out, "amount", text_json(row, "amount"));
    put(out, "paid", text_json(row, "paid"));
}

static json_t *refund_json(const PGresult *row)
{
    bool mined = !pg_null(row, 0, "refund_tx"), asked = !pg_null(row, 0, "refund_state");
    if (!mined && !asked)
        return json_null();
    json_t *out = json_object();
    put(out, "state", asked ? text_json(row, "refund_state") : json_string("mined"));
    put(out, "tx_hash", text_json(row, "refund_tx"));
    put(out, "block_number", mined ? json_integer(pg_int(row, 0, "refund_block")) : json_null());
    put(out, "amount", text_json(row, "refund_amount"));
    put(out, "at", time_json(row, "refunded_s"));
    return out;
}

int query_payment(struct pg_conn *conn, const char *id, int64_t required, json_t **out,
                  struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    *out = NULL;
    if (pg_run(conn, &payment_stmt, PG_PARAMS(id), &row, err) != 0)
        return -1;
    if (PQntuples(row) == 0)
        return 0;
    const char *state = pg_text(row, 0, "state");
    bool gone = strcmp(state, "orphaned") == 0;
    int64_t depth = pg_int(row, 0, "cursor_number") - pg_int(row, 0, "block_number");
    json_t *json = *out = json_object();
    put(json, "payment_id", json_string(id));
    put(json, "state", json_string(state));
    put(json, "reason", text_json(row, "reason"));
    put(json, "revision", json_integer(pg_int(row, 0, "revision")));
    put(json, "confirmations", json_integer(gone || depth < 0 ? 0 : depth));
    put(json, "confirmations_required", json_integer(required));
    put(json, "chain_id", json_integer(pg_int(row, 0, "chain_id")));
    put(json, "contract", address_json(pg_text(row, 0, "contract")));
    put(json, "tx_hash", text_json(row, "tx_hash"));
    put(json, "block_number", json_integer(pg_int(row, 0, "block_number")));
    put(json, "block_hash", text_json(row, "block_hash"));
    put(json, "log_index", json_integer(pg_int(row, 0, "log_index")));
    put_terms(json, row);
    put(json, "seen_at", time_json(row, "seen_s"));
    put(json, "confirmed_at", time_json(row, "confirmed_s"));
    put(json, "activated_at", time_json(row, "activated_s"));
    put(json, "refund", refund_json(row));
    return 0;
}

static int receipt_read(const PGresult *row, struct receipt *out)
{
    struct quote *quote = &out->quote;
    out->block = (uint64_t)pg_int(row, 0, "block_number");
    out->confirmed_at = (uint64_t)pg_int(row, 0, "confirmed_s");
    if (hex_decode(pg_text(row, 0, "subscriber"), quote->subscriber, 20) != 0 ||
        hex_decode(pg_text(row, 0, "token"), quote->token, 20) != 0 ||
        word_from_hex(pg_text(row, 0, "service_id"), &quote->service_id) != 0 ||
        word_from_hex(pg_text(row, 0, "terms"), &quote->terms) != 0 ||
        word_from_hex(pg_text(row, 0, "tx_hash"), &out->tx_hash) != 0)
        return -1;
    return word_from_decimal(pg_text(row, 0, "amount"), &out->amount);
}

int query_receipt(struct pg_conn *conn, int64_t follower, const char *id, struct query_receipt *out,
                  bool *found, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    *out = (struct query_receipt){0};
    if (pg_run(conn, &receipt_stmt, PG_PARAMS(pg_num(follower).s, id), &row, err) != 0)
        return -1;
    *found = PQntuples(row) == 1;
    if (!*found)
        return 0;
    if (ledger_parse(pg_text(row, 0, "state"), &out->state) != 0 ||
        receipt_read(row, &out->receipt) != 0)
        return err_set(err, "payment %s: its row is not one that we wrote", id);
    json_t *version = pg_null(row, 0, "tier_version")
                          ? json_null()
                          : json_integer(pg_int(row, 0, "tier_version"));
    out->sold = json_pack("{s:o, s:o, s:o}", "service", text_json(row, "service_name"), "tier",
                          text_json(row, "tier"), "tier_version", version);
    return 0;
}

int query_states(struct pg_conn *conn, int64_t follower, PGresult **out, struct err *err)
{
    return pg_run(conn, &states_stmt, PG_PARAMS(pg_num(follower).s), out, err);
}

int query_transfer_states(struct pg_conn *conn, int64_t follower, PGresult **out, struct err *err)
{
    return pg_run(conn, &transfer_states_stmt, PG_PARAMS(pg_num(follower).s), out, err);
}

static int waiting(struct pg_conn *conn, const struct pg_stmt *stmt, int64_t follower,
                   int64_t *count, int64_t *age_s, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    if (pg_run(conn, stmt, PG_PARAMS(pg_num(follower).s), &row, err) != 0)
        return -1;
    *count = pg_int(row, 0, "count");
    *age_s = pg_int(row, 0, "age_s");
    return 0;
}

int query_outbox(struct pg_conn *conn, int64_t follower, int64_t *count, int64_t *age_s,
                 struct err *err)
{
    return waiting(conn, &outbox_stmt, follower, count, age_s, err);
}

int query_events(struct pg_conn *conn, int64_t follower, int64_t *count, int64_t *age_s,
                 struct err *err)
{
    return waiting(conn, &events_stmt, follower, count, age_s, err);
}
