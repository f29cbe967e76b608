/* Asking for slices of quotas and granting them, as tables. */
#include "libcommon/proto/lease.h"

#include "libcommon/proto/wire.h"

#include <string.h>

#define TEXT_OF(type, m, n, check, words)                                                          \
    .kind = WIRE_TEXT, .offset = offsetof(type, m), .min = (n), .max = (n), .valid = (check),      \
    .rule = (words)
#define SUB_ID(type, m)                                                                            \
    TEXT_OF(type, m, SUB_ID_LEN, sub_id_valid, "sub_ and 32 lower-case hex digits")
#define JOURNAL(type, m)                                                                           \
    TEXT_OF(type, m, LEASE_JOURNAL_LEN, lease_journal_valid, "32 lower-case hex digits")
#define INT_OF(type, m, lo, hi)                                                                    \
    .kind = WIRE_INT, .offset = offsetof(type, m), .min = (lo), .max = (hi)
#define LIST_OF(type, items, n, lo, hi, of)                                                        \
    .kind = WIRE_LIST, .offset = offsetof(type, items), .count_offset = offsetof(type, n),         \
    .min = (lo), .max = (hi), .shape = (of)

bool lease_journal_valid(const char *id, size_t len)
{
    if (len != LEASE_JOURNAL_LEN)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!((id[i] >= '0' && id[i] <= '9') || (id[i] >= 'a' && id[i] <= 'f')))
            return false;
    return true;
}

struct journal {
    char id[LEASE_JOURNAL_LEN + 1];
};

static const struct wire_field journal_fields[] = {{NULL, JOURNAL(struct journal, id)}};
WIRE_SHAPE(journal_shape, struct journal, journal_fields);

#define WANT(kind) INT_OF(struct lease_ask, want[kind], 0, INT64_MAX)

static const struct wire_field ask_fields[] = {
    {"sub", SUB_ID(struct lease_ask, sub)},
    {"requests", WANT(SUB_REQUESTS)},
    {"bytes", WANT(SUB_BYTES)},
    {"messages", WANT(SUB_MESSAGES)},
    {"cost", WANT(SUB_COST)},
};
WIRE_SHAPE(ask_shape, struct lease_ask, ask_fields);

static const struct wire_field request_fields[] = {
    {"journals",
     LIST_OF(struct lease_request, journals, journal_count, 1, LEASE_JOURNALS_MAX, &journal_shape)},
    {"round", INT_OF(struct lease_request, round, 1, INT64_MAX)},
    {"last", INT_OF(struct lease_request, last, 0, INT64_MAX)},
    {"ask", LIST_OF(struct lease_request, asks, ask_count, 0, SUB_BATCH_MAX, &ask_shape)},
};
WIRE_SHAPE(request_shape, struct lease_request, request_fields);

static const struct wire_field applied_fields[] = {
    {"journal", JOURNAL(struct lease_applied, journal)},
    {"seq", INT_OF(struct lease_applied, seq, 0, INT64_MAX)},
};
WIRE_SHAPE(applied_shape, struct lease_applied, applied_fields);

#define AMOUNT(kind) INT_OF(struct lease_grant, amount[kind], LEASE_UNLIMITED, INT64_MAX)

static const struct wire_field grant_fields[] = {
    {"sub", SUB_ID(struct lease_grant, sub)},
    {"lease", INT_OF(struct lease_grant, id, 1, INT64_MAX)},
    {"period", INT_OF(struct lease_grant, period, 0, WIRE_TIME_MAX)},
    {"day", TEXT_OF(struct lease_grant, day, 10, wire_is_day, "a day as 2026-11-21")},
    {"ttl_ms", INT_OF(struct lease_grant, ttl_ms, 0, 86400000)},
    {"requests", AMOUNT(SUB_REQUESTS)},
    {"bytes", AMOUNT(SUB_BYTES)},
    {"messages", AMOUNT(SUB_MESSAGES)},
    {"cost", AMOUNT(SUB_COST)},
};
WIRE_SHAPE(grant_shape, struct lease_grant, grant_fields);

static const char *const reason_names[] = {"quota-exceeded", "payment-required", NULL};
static const char *const kind_names[] = {"requests", "bytes", "messages", "cost", NULL};

static bool is_quota(const void *base)
{
    return ((const struct lease_refused *)base)->reason == LEASE_QUOTA_EXCEEDED;
}

static const struct wire_field refused_fields[] = {
    {"sub", SUB_ID(struct lease_refused, sub)},
    {"reason", .kind = WIRE_ENUM, .offset = offsetof(struct lease_refused, reason),
     .words = reason_names},
    {"kind", .kind = WIRE_ENUM, .offset = offsetof(struct lease_refused, kind), .words = kind_names,
     .present = is_quota},
    {"retry_after", INT_OF(struct lease_refused, retry_after, 0, WIRE_TIME_MAX)},
};
WIRE_SHAPE(refused_shape, struct lease_refused, refused_fields);

static const struct wire_field reply_fields[] = {
    {"applied", .kind = WIRE_MAP, .offset = offsetof(struct lease_reply, applied),
     .count_offset = offsetof(struct lease_reply, applied_count), .max = LEASE_JOURNALS_MAX,
     .shape = &applied_shape},
    {"grants", LIST_OF(struct lease_reply, grants, grant_count, 0, SUB_BATCH_MAX, &grant_shape)},
    {"refused",
     LIST_OF(struct lease_reply, refused, refused_count, 0, SUB_BATCH_MAX, &refused_shape)},
};
WIRE_SHAPE(reply_shape, struct lease_reply, reply_fields);

char *lease_request_encode(const struct lease_request *request)
{
    return wire_text(&request_shape, request);
}

int lease_request_decode(const char *text, size_t len, struct lease_request *out, struct err *err)
{
    return wire_parse(&request_shape, text, len, out, err);
}

void lease_request_clear(struct lease_request *request)
{
    wire_clear(&request_shape, request);
}

char *lease_reply_encode(const struct lease_reply *reply)
{
    return wire_text(&reply_shape, reply);
}

int lease_reply_decode(const char *text, size_t len, struct lease_reply *out, struct err *err)
{
    return wire_parse_reply(&reply_shape, text, len, out, err);
}

void lease_reply_clear(struct lease_reply *reply)
{
    wire_clear(&reply_shape, reply);
}
