/* Reads and locks rows of `subscription`. Every change of a state goes through record_move, so that
 * none is without a version and an outbox row. */
#include "services/subd/record.h"

#include "libcommon/buf.h"
#include "libcommon/eth/hex.h"

#include <stdio.h>
#include <string.h>

static const struct pg_stmt get_stmt = {"record_get", "SELECT " RECORD_COLUMNS
                                                      " FROM subscription WHERE id = $1"};
static const struct pg_stmt lock_stmt = {
    "record_lock", "SELECT " RECORD_COLUMNS " FROM subscription WHERE id = $1 FOR UPDATE"};
static const struct pg_stmt list_stmt = {
    "record_list", "SELECT " RECORD_COLUMNS " FROM subscription WHERE id = ANY ($1::text[])"};
static const struct pg_stmt share_stmt = {
    "record_share", "SELECT " RECORD_COLUMNS
                    " FROM subscription WHERE id = ANY ($1::text[]) ORDER BY id FOR SHARE"};
static const struct pg_stmt head_stmt = {"record_head", "SELECT published FROM relay"};
static const struct pg_stmt move_stmt = {
    "record_move",
    "WITH moved AS (UPDATE subscription SET state = $2, version = version + 1, updated_at = now()"
    " WHERE id = $1 RETURNING id, version)"
    " INSERT INTO outbox (subscription, version) SELECT id, version FROM moved RETURNING version"};

static int copy(char *out, size_t size, const char *text, const char *what, struct err *err)
{
    size_t len = strlen(text);
    if (len >= size)
        return err_set(err, "subscription's %s is longer than %zu characters", what, size - 1);
    memcpy(out, text, len + 1);
    return 0;
}

static void read_numbers(const PGresult *result, int row, int64_t now, struct record *out)
{
    struct sub_record *pub = &out->pub;
    pub->version = pg_int(result, row, "version");
    pub->plan = pg_int(result, row, "plan");
    pub->start = pg_int(result, row, "start_at");
    pub->expiry = pg_int(result, row, "expires_at");
    pub->limits.rate = pg_int(result, row, "rate");
    pub->limits.burst = pg_int(result, row, "burst");
    pub->limits.quota[SUB_REQUESTS] = pg_int(result, row, "requests");
    pub->limits.quota[SUB_BYTES] = pg_int(result, row, "bytes");
    pub->limits.quota[SUB_MESSAGES] = pg_int(result, row, "messages");
    pub->limits.quota[SUB_COST] = pg_int(result, row, "cost");
    pub->limits.requests_per_day = pg_int(result, row, "requests_per_day");
    out->period_seconds = pg_int(result, row, "period_seconds");
    struct period period = period_at(pub->start, pub->expiry, out->period_seconds, now);
    pub->period_start = period.start;
    pub->period_end = period.end;
}

int record_read(const PGresult *result, int row, int64_t now, struct record *out, struct err *err)
{
    memset(out, 0, sizeof(*out));
    struct sub_record *pub = &out->pub;
    uint8_t address[20];
    if (copy(pub->id, sizeof(pub->id), pg_text(result, row, "id"), "id", err) ||
        copy(pub->service, sizeof(pub->service), pg_text(result, row, "service"), "service", err) ||
        copy(pub->tier, sizeof(pub->tier), pg_text(result, row, "tier"), "tier", err) ||
        copy(out->payment, sizeof(out->payment), pg_text(result, row, "payment_id"), "payment",
             err) ||
        hex_address(pg_text(result, row, "subscriber"), address, err))
        return -1;
    hex_address_format(address, pub->subscriber);
    if (sub_state_parse(pg_text(result, row, "state"), &pub->state))
        return err_set(err, "subscription %s is in an unknown state", pub->id);
    read_numbers(result, row, now, out);
    return 0;
}

static int read_one(const PGresult *result, int64_t now, struct record *out, bool *found,
                    struct err *err)
{
    *found = PQntuples(result) > 0;
    return *found ? record_read(result, 0, now, out, err) : 0;
}

int record_get(struct pg_conn *conn, const char *id, bool lock, int64_t now, struct record *out,
               bool *found, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    if (pg_run(conn, lock ? &lock_stmt : &get_stmt, PG_PARAMS(id), &result, err))
        return -1;
    return read_one(result, now, out, found, err);
}

static int name_of(const struct quote_domain *domain, const char *subscriber, const char *service,
                   char id[QUOTE_SUBSCRIPTION_ID], struct err *err)
{
    struct word service_id = quote_service_id(service);
    uint8_t address[20];
    if (hex_address(subscriber, address, err))
        return -1;
    quote_subscription_id(domain, address, &service_id, id);
    return 0;
}

int record_of_holder(struct pg_conn *conn, const struct quote_domain *domain,
                     const char *subscriber, const char *service, int64_t now, struct record *out,
                     bool *found, struct err *err)
{
    char id[QUOTE_SUBSCRIPTION_ID];
    if (name_of(domain, subscriber, service, id, err))
        return -1;
    return record_get(conn, id, false, now, out, found, err);
}

bool record_bought_on(const struct record *record, const struct quote_domain *domain)
{
    char id[QUOTE_SUBSCRIPTION_ID];
    struct err err;
    return name_of(domain, record->pub.subscriber, record->pub.service, id, &err) == 0 &&
           strcmp(id, record->pub.id) == 0;
}

char *record_array(const char *const *items, size_t count)
{
    struct buf out = {0};
    buf_putc(&out, '{');
    for (size_t i = 0; i < count; i++)
        buf_printf(&out, "%s\"%s\"", i ? "," : "", items[i]);
    buf_putc(&out, '}');
    return buf_steal(&out);
}

static void place(struct record *list, size_t count, const struct record *one)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].pub.id, one->pub.id) == 0)
            list[i] = *one;
    }
}

int record_list(struct pg_conn *conn, const char *const *ids, size_t count, bool lock, int64_t now,
                struct record **out, struct err *err)
{
    AUTO_FREE char *array = record_array(ids, count);
    AUTO_PG_RESULT PGresult *result = NULL;
    if (pg_run(conn, lock ? &share_stmt : &list_stmt, PG_PARAMS(array), &result, err))
        return -1;
    AUTO_FREE struct record *list = mem_array(count + 1, sizeof(*list));
    for (size_t i = 0; i < count; i++)
        snprintf(list[i].pub.id, sizeof(list[i].pub.id), "%s", ids[i]);
    for (int row = 0; row < PQntuples(result); row++) {
        struct record one;
        if (record_read(result, row, now, &one, err))
            return -1;
        place(list, count, &one);
    }
    *out = MEM_STEAL(list);
    return 0;
}

int record_head(struct pg_conn *conn, int64_t *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    if (pg_run(conn, &head_stmt, NULL, 0, &result, err))
        return -1;
    if (PQntuples(result) != 1)
        return err_set(err, "the table relay must hold one row");
    *out = pg_int(result, 0, "published");
    return 0;
}

int record_move(struct pg_conn *conn, struct record *record, enum sub_state to, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = NULL;
    if (pg_run(conn, &move_stmt, PG_PARAMS(record->pub.id, sub_state_name(to)), &result, err))
        return -1;
    if (PQntuples(result) != 1)
        return err_set(err, "subscription %s is gone", record->pub.id);
    record->pub.state = to;
    record->pub.version = pg_int(result, 0, "version");
    return 0;
}
