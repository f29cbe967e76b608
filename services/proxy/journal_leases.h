/* What a journal knows of each lease: how far it is sealed, and what its cells say now. The
 * flushing thread's. */
#ifndef PROXY_JOURNAL_LEASES_H
#define PROXY_JOURNAL_LEASES_H

#include "libcommon/proto/usage.h"
#include "services/proxy/journal_log.h"

struct journal_lease {
    struct journal_lease *next;   /* in the bucket */
    struct journal_lease *listed; /* all, in order of appearance */
    struct journal_state sealed;
    uint64_t now[JOURNAL_COUNTERS]; /* sums over its cells */
    bool over;                      /* its end is to be reported */
};

struct journal_leases {
    struct journal_lease **buckets;
    struct journal_lease *first, **end;
    size_t count;
};

void journal_leases_init(struct journal_leases *leases);
void journal_leases_free(struct journal_leases *leases);
struct journal_lease *journal_leases_find(const struct journal_leases *leases, int64_t id);
struct journal_lease *journal_leases_get(struct journal_leases *leases,
                                         const struct journal_key *key);
/* Takes over what a record of the log says. */
void journal_leases_replay(struct journal_leases *leases, const struct journal_record *record);
/* Adds up the cells anew. */
void journal_leases_begin(struct journal_leases *leases);
void journal_leases_add(struct journal_leases *leases, const struct journal_cell *cell);
/* Whether it has anything to report, and that as an entry and as the state after it. */
bool journal_lease_entry(const struct journal_lease *lease, struct usage_entry *entry,
                         struct journal_state *after);
/* Forgets those whose end is sealed. */
void journal_leases_prune(struct journal_leases *leases);

#endif
