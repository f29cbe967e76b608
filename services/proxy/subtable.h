/* What one worker knows about subscriptions: a bounded table, kept current by subd's changes. An
 * entry is made when it is first asked for and holds what requests are waiting for it; while it is
 * referenced it is not evicted. */
#ifndef PROXY_SUBTABLE_H
#define PROXY_SUBTABLE_H

#include "libcommon/proto/sub.h"
#include "services/proxy/billing_wait.h"
#include "services/proxy/lease_share.h"

#define SUBTABLE_NEGATIVE_NS (1000LL * 1000 * 1000) /* how long a bad answer is not asked again */

struct subscription {
    struct sub_record record; /* version 0: subd does not know it, or was not asked yet */
    int64_t learned_ns;       /* when subd last said something about it; 0: never */
    int64_t failed_ns;        /* when asking last failed; 0: never, or answered since */
    int64_t asked_ns;         /* a check is under way since then; 0: none */
    unsigned refs;

    struct billing_waits checking; /* requests that wait for the check */
    struct lease_purse purse;      /* what this worker may spend of its quotas */

    struct subscription *hash_next;
    struct subscription *newer, *older; /* by last use */
};

enum subtable_verdict {
    SUBTABLE_PASS,
    SUBTABLE_ASK,        /* not known, or an old refusal: ask subd */
    SUBTABLE_UNPAID,     /* 402, see subtable_reason */
    SUBTABLE_NOT_COVERED /* of another service */
};

struct subtable;

/* release: called for an entry that gives way or goes with the table; may be NULL. */
struct subtable *subtable_new(size_t max, const uint8_t key[16],
                              void (*release)(void *ctx, struct subscription *sub), void *ctx);
void subtable_free(struct subtable **table);
struct subscription *subtable_find(struct subtable *table, const char *id);
/* Makes it where it is absent. NULL: the table is full of entries in use. */
struct subscription *subtable_get(struct subtable *table, const char *id);
void subtable_ref(struct subscription *sub);
void subtable_unref(struct subscription *sub);
size_t subtable_count(const struct subtable *table);
void subtable_each(struct subtable *table, void (*fn)(void *ctx, struct subscription *sub),
                   void *ctx);

/* Takes a record over unless a higher version is here. true: the state or terms may have changed.
 */
bool subtable_apply(struct subscription *sub, const struct sub_record *record, int64_t now_ns);
/* By the wall clock at each request: an expiry needs no message. */
enum subtable_verdict subtable_judge(const struct subscription *sub, const char *service,
                                     int64_t wall_s, int64_t now_ns);
/* Why it is not paid, for the client. */
const char *subtable_reason(const struct subscription *sub, int64_t wall_s);

#endif
