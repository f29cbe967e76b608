/* Leases: slices of quotas that one journal may spend without asking. docs/interfaces.md,
 * `octroi.v1.sub.lease`. */
#ifndef LIBCOMMON_PROTO_LEASE_H
#define LIBCOMMON_PROTO_LEASE_H

#include "libcommon/proto/sub.h"

#define LEASE_JOURNAL_LEN  32 /* hex digits */
#define LEASE_JOURNALS_MAX 64
#define LEASE_UNLIMITED    (-1)

struct lease_ask {
    char sub[SUB_ID_LEN + 1];
    int64_t want[SUB_KINDS]; /* 0: not asked for */
};

struct lease_request {
    char (*journals)[LEASE_JOURNAL_LEN + 1]; /* the first is the asker's own; owned */
    size_t journal_count;
    int64_t round;          /* grows with each request of a journal, from 1 */
    int64_t last;           /* the highest lease that has arrived; 0: none */
    struct lease_ask *asks; /* owned */
    size_t ask_count;
};

struct lease_grant {
    char sub[SUB_ID_LEN + 1];
    int64_t id;
    int64_t period; /* start of the quota's period, Unix seconds */
    char day[11];   /* UTC */
    int64_t ttl_ms;
    int64_t amount[SUB_KINDS]; /* LEASE_UNLIMITED where the kind has no limit */
};

enum lease_refusal { LEASE_QUOTA_EXCEEDED, LEASE_PAYMENT_REQUIRED };

struct lease_refused {
    char sub[SUB_ID_LEN + 1];
    enum lease_refusal reason;
    enum sub_kind kind;  /* of a quota that is exceeded */
    int64_t retry_after; /* seconds; 0: unknown */
};

struct lease_applied {
    char journal[LEASE_JOURNAL_LEN + 1];
    int64_t seq;
};

struct lease_reply {
    struct lease_applied *applied; /* all owned */
    size_t applied_count;
    struct lease_grant *grants;
    size_t grant_count;
    struct lease_refused *refused;
    size_t refused_count;
};

bool lease_journal_valid(const char *id, size_t len);
char *lease_request_encode(const struct lease_request *request);
int lease_request_decode(const char *text, size_t len, struct lease_request *out,
                         struct err *err) MUST_USE;
void lease_request_clear(struct lease_request *request);
char *lease_reply_encode(const struct lease_reply *reply);
int lease_reply_decode(const char *text, size_t len, struct lease_reply *out,
                       struct err *err) MUST_USE;
void lease_reply_clear(struct lease_reply *reply);

#endif
