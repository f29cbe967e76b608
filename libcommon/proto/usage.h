/* Usage batches: what a journal spent since its last batch. docs/interfaces.md,
 * `octroi.v1.usage.<journal>`. */
#ifndef LIBCOMMON_PROTO_USAGE_H
#define LIBCOMMON_PROTO_USAGE_H

#include "libcommon/proto/lease.h"

#define USAGE_SUBJECT     "octroi.v1.usage." /* + journal */
#define USAGE_STREAM      "OCTROI_USAGE"
#define USAGE_ENTRIES_MAX 2000 /* keeps a batch under BUS_MAX_PAYLOAD */

struct usage_entry {
    char sub[SUB_ID_LEN + 1];
    int64_t lease;
    int64_t period;
    char day[11];
    int64_t requests; /* may be negative by what was marked and never sent */
    int64_t bytes_in, bytes_out;
    int64_t messages, events;
    int64_t cost; /* as requests */
    bool closed;
};

struct usage_batch {
    char journal[LEASE_JOURNAL_LEN + 1];
    int64_t seq; /* from 1 */
    bool final;
    struct usage_entry *entries; /* owned */
    size_t count;
};

/* Deterministic: the same batch gives the same bytes. */
char *usage_batch_encode(const struct usage_batch *batch);
int usage_batch_decode(const char *text, size_t len, struct usage_batch *out,
                       struct err *err) MUST_USE;
void usage_batch_clear(struct usage_batch *batch);

#endif
