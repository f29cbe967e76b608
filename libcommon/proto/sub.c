/* subd's verbs on the wire, as tables. */
#include "libcommon/proto/sub.h"

#include "libcommon/eth/hex.h"
#include "libcommon/proto/wire.h"

#include <string.h>

static const char *const state_names[] = {"unknown", "pending", "active", "suspended",
                                          "expired", "revoked", NULL};
static const char *const kind_names[] = {"requests", "bytes", "messages", "cost"};

const char *sub_state_name(enum sub_state state)
{
    return state_names[state];
}

int sub_state_parse(const char *name, enum sub_state *out)
{
    for (unsigned i = 0; state_names[i] != NULL; i++)
        if (strcmp(name, state_names[i]) == 0) {
            *out = (enum sub_state)i;
            return 0;
        }
    return -1;
}

bool sub_id_valid(const char *id, size_t len)
{
    return len == SUB_ID_LEN && memcmp(id, "sub_", 4) == 0 &&
           strspn(id + 4, "0123456789abcdef") >= SUB_ID_LEN - 4;
}

const char *sub_kind_name(enum sub_kind kind)
{
    return kind_names[kind];
}

bool sub_limited(const struct sub_limits *limits, enum sub_kind kind)
{
    return limits->quota[kind] > 0 || (kind == SUB_REQUESTS && limits->requests_per_day > 0);
}

static bool is_address(const char *text, size_t len)
{
    uint8_t address[20];
    (void)len;
    return hex_address(text, address, NULL) == 0;
}

static bool is_known(const void *base)
{
    return ((const struct sub_record *)base)->state != SUB_UNKNOWN;
}

#define LIMIT(key, m)                                                                              \
    {                                                                                              \
        .name = (key), .kind = WIRE_INT, .offset = offsetof(struct sub_limits, m),                 \
        .max = INT64_MAX                                                                           \
    }

static const struct wire_field limit_fields[] = {
    LIMIT("rate", rate),
    LIMIT("burst", burst),
    LIMIT("requests", quota[SUB_REQUESTS]),
    LIMIT("bytes", quota[SUB_BYTES]),
    LIMIT("messages", quota[SUB_MESSAGES]),
    LIMIT("cost", quota[SUB_COST]),
    /* Absent where there is none, so that who does not know it yet reads every other record. */
    {"requests_per_day", .kind = WIRE_INT, .offset = offsetof(struct sub_limits, requests_per_day),
     .min = 1, .max = INT64_MAX, .optional = true},
};
WIRE_SHAPE(limits_shape, struct sub_limits, limit_fields);

#define SUB_ID(type, m)                                                                            \
    .kind = WIRE_TEXT, .offset = offsetof(type, m), .min = SUB_ID_LEN, .max = SUB_ID_LEN,          \
    .valid = sub_id_valid, .rule = "sub_ and 32 lower-case hex digits"
#define RECORD(m) .offset = offsetof(struct sub_record, m)
#define KNOWN     .present = is_known
#define NAME      .kind = WIRE_TEXT, .min = 1, .max = 63
#define TIME      .kind = WIRE_INT, .max = WIRE_TIME_MAX

static const struct wire_field record_fields[] = {
    {"id", SUB_ID(struct sub_record, id)},
    {"version", .kind = WIRE_INT, RECORD(version), .max = INT64_MAX},
    {"state", .kind = WIRE_ENUM, RECORD(state), .words = state_names},
    {"service", NAME, RECORD(service), KNOWN},
    {"subscriber", .kind = WIRE_TEXT, RECORD(subscriber), .min = 42, .max = 42, .valid = is_address,
     .rule = "an address: 0x and 40 hex digits", KNOWN},
    {"tier", NAME, RECORD(tier), KNOWN},
    {"plan", .kind = WIRE_INT, RECORD(plan), .max = UINT16_MAX, KNOWN},
    {"start", TIME, RECORD(start), KNOWN},
    {"expiry", TIME, RECORD(expiry), KNOWN},
    {"period_start", TIME, RECORD(period_start), KNOWN},
    {"period_end", TIME, RECORD(period_end), KNOWN},
    {"limits", .kind = WIRE_OBJECT, RECORD(limits), .shape = &limits_shape, KNOWN},
};
WIRE_SHAPE(record_shape, struct sub_record, record_fields);

/* Only what is unknown has no version yet. */
static int check_version(const struct sub_record *record, struct err *err)
{
    if ((record->version == 0) != (record->state == SUB_UNKNOWN))
        return err_set(err, "version: must be 0 where the state is unknown, else at least 1");
    return 0;
}

json_t *sub_record_encode(const struct sub_record *record)
{
    return wire_write(&record_shape, record);
}

int sub_record_decode(const json_t *json, struct sub_record *out, struct err *err)
{
    if (wire_read(&record_shape, json, out, err) != 0)
        return -1;
    return check_version(out, err);
}

struct id {
    char text[SUB_ID_LEN + 1];
};

struct check {
    struct id *ids;
    size_t count;
};

static const struct wire_field id_fields[] = {{NULL, SUB_ID(struct id, text)}};
WIRE_SHAPE(id_shape, struct id, id_fields);

static const struct wire_field check_fields[] = {
    {"subscriptions", .kind = WIRE_LIST, .offset = offsetof(struct check, ids),
     .count_offset = offsetof(struct check, count), .max = SUB_BATCH_MAX, .shape = &id_shape},
};
WIRE_SHAPE(check_shape, struct check, check_fields);

char *sub_check_encode(const char *const *ids, size_t count)
{
    AUTO_JSON json_t *root = json_object();
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(ids[i]));
    json_object_set_new(root, "subscriptions", list);
    return json_text(root);
}

int sub_check_decode(const char *text, size_t len, char (*ids)[SUB_ID_LEN + 1], size_t max,
                     size_t *count, struct err *err)
{
    struct check check;
    if (wire_parse(&check_shape, text, len, &check, err) != 0)
        return -1;
    int rc = 0;
    if (check.count > max)
        rc = err_set(err, "subscriptions: must have at most %zu items", max);
    else if (check.count > 0)
        memcpy(ids, check.ids, check.count * sizeof(*ids));
    *count = rc == 0 ? check.count : 0;
    wire_clear(&check_shape, &check);
    return rc;
}

struct check_reply {
    int64_t head;
    struct sub_record *records;
    size_t count;
};

static const struct wire_field reply_fields[] = {
    {"head", .kind = WIRE_INT, .offset = offsetof(struct check_reply, head), .max = INT64_MAX},
    {"subscriptions", .kind = WIRE_LIST, .offset = offsetof(struct check_reply, records),
     .count_offset = offsetof(struct check_reply, count), .max = SUB_BATCH_MAX,
     .shape = &record_shape},
};
WIRE_SHAPE(reply_shape, struct check_reply, reply_fields);

char *sub_check_reply_encode(int64_t head, const struct sub_record *records, size_t count)
{
    /* Only read: the table's pointer is not const because a reader owns its list. */
    struct check_reply reply = {head, (struct sub_record *)(uintptr_t)records, count};
    return wire_text(&reply_shape, &reply);
}

int sub_check_reply_decode(const char *text, size_t len, int64_t *head, struct sub_record **records,
                           size_t *count, struct err *err)
{
    struct check_reply reply;
    *records = NULL;
    *count = 0;
    if (wire_parse_reply(&reply_shape, text, len, &reply, err) != 0)
        return -1;
    for (size_t i = 0; i < reply.count; i++)
        if (check_version(&reply.records[i], err) != 0) {
            wire_clear(&reply_shape, &reply);
            return err_wrap(err, "reply: subscriptions: [%zu]", i);
        }
    *head = reply.head;
    *records = reply.records;
    *count = reply.count;
    return 0;
}

struct changed {
    int64_t head;
    struct sub_record record;
};

static const struct wire_field changed_fields[] = {
    {"head", .kind = WIRE_INT, .offset = offsetof(struct changed, head), .min = 1,
     .max = INT64_MAX},
    {"record", .kind = WIRE_OBJECT, .offset = offsetof(struct changed, record),
     .shape = &record_shape},
};
WIRE_SHAPE(changed_shape, struct changed, changed_fields);

char *sub_changed_encode(int64_t head, const struct sub_record *record)
{
    struct changed changed = {head, *record};
    return wire_text(&changed_shape, &changed);
}

int sub_changed_decode(const char *text, size_t len, int64_t *head, struct sub_record *record,
                       struct err *err)
{
    struct changed changed;
    if (wire_parse(&changed_shape, text, len, &changed, err) != 0 ||
        check_version(&changed.record, err) != 0)
        return -1;
    *head = changed.head;
    *record = changed.record;
    return 0;
}

#define BEAT(m) .offset = offsetof(struct sub_heartbeat, m)

static const struct wire_field beat_fields[] = {
    {"instance", NAME, BEAT(instance)},
    {"healthy", .kind = WIRE_BOOL, BEAT(healthy)},
    {"postgres", .kind = WIRE_BOOL, BEAT(postgres)},
    {"redis", .kind = WIRE_BOOL, BEAT(redis)},
    {"head", .kind = WIRE_INT, BEAT(head), .max = INT64_MAX},
    {"at_ms", .kind = WIRE_INT, BEAT(at_ms), .max = WIRE_TIME_MAX * 1000},
};
WIRE_SHAPE(beat_shape, struct sub_heartbeat, beat_fields);

char *sub_heartbeat_encode(const struct sub_heartbeat *beat)
{
    return wire_text(&beat_shape, beat);
}

int sub_heartbeat_decode(const char *text, size_t len, struct sub_heartbeat *out, struct err *err)
{
    return wire_parse(&beat_shape, text, len, out, err);
}
