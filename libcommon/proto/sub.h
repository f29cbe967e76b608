/* What subd and the proxies say to each other: docs/interfaces.md, "NATS". Encoders return text
 * that the caller frees; decoders refuse what is not exactly of the form. */
#ifndef LIBCOMMON_PROTO_SUB_H
#define LIBCOMMON_PROTO_SUB_H

#include "libcommon/json.h"

#define SUB_SUBJECT_CHECK     "octroi.v1.sub.check"
#define SUB_SUBJECT_LEASE     "octroi.v1.sub.lease"
#define SUB_SUBJECT_KEYS      "octroi.v1.sub.keys"
#define SUB_SUBJECT_CHANGED   "octroi.v1.sub.changed." /* + subscription */
#define SUB_SUBJECT_HEARTBEAT "octroi.v1.sub.heartbeat"
#define SUB_SUBJECT_REVOKE    "octroi.v1.admin.subd.revoke"
#define SUB_STREAM            "OCTROI_SUBS"
#define SUB_QUEUE             "subd"
#define SUB_BATCH_MAX         256

#define SUB_ID_LEN 36 /* "sub_" + 32 hex */

enum sub_state { SUB_UNKNOWN, SUB_PENDING, SUB_ACTIVE, SUB_SUSPENDED, SUB_EXPIRED, SUB_REVOKED };

const char *sub_state_name(enum sub_state state);
int sub_state_parse(const char *name, enum sub_state *out) MUST_USE;
/* "sub_" + 32 lower-case hex digits. */
bool sub_id_valid(const char *id, size_t len);

/* The kinds of quota. A vector of amounts is indexed by this. */
enum sub_kind { SUB_REQUESTS, SUB_BYTES, SUB_MESSAGES, SUB_COST, SUB_KINDS };

const char *sub_kind_name(enum sub_kind kind);

struct sub_limits {
    int64_t rate;             /* requests a second; 0: no limit */
    int64_t burst;            /* requests */
    int64_t quota[SUB_KINDS]; /* a period; 0: no limit */
    int64_t requests_per_day; /* UTC; 0: no limit */
};

/* Whether requests, say, are lent in slices: for a period or for a day. */
bool sub_limited(const struct sub_limits *limits, enum sub_kind kind);

struct sub_record {
    char id[SUB_ID_LEN + 1];
    int64_t version; /* 0: unknown subscription */
    enum sub_state state;
    char service[64];
    char subscriber[43];
    char tier[64];
    int64_t plan;
    int64_t start, expiry;            /* Unix seconds */
    int64_t period_start, period_end; /* the period that was current when the record was made */
    struct sub_limits limits;
};

json_t *sub_record_encode(const struct sub_record *record);
int sub_record_decode(const json_t *json, struct sub_record *out, struct err *err) MUST_USE;

char *sub_check_encode(const char *const *ids, size_t count);
int sub_check_decode(const char *text, size_t len, char (*ids)[SUB_ID_LEN + 1], size_t max,
                     size_t *count, struct err *err) MUST_USE;
char *sub_check_reply_encode(int64_t head, const struct sub_record *records, size_t count);
/* *records is the caller's to free. */
int sub_check_reply_decode(const char *text, size_t len, int64_t *head, struct sub_record **records,
                           size_t *count, struct err *err) MUST_USE;

char *sub_changed_encode(int64_t head, const struct sub_record *record);
int sub_changed_decode(const char *text, size_t len, int64_t *head, struct sub_record *record,
                       struct err *err) MUST_USE;

struct sub_heartbeat {
    char instance[64];
    bool healthy, postgres, redis;
    int64_t head;
    int64_t at_ms;
};

char *sub_heartbeat_encode(const struct sub_heartbeat *beat);
int sub_heartbeat_decode(const char *text, size_t len, struct sub_heartbeat *out,
                         struct err *err) MUST_USE;

#endif
