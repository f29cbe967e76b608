/* One worker's side of leases: for each subscription a purse of those it may spend, oldest first,
 * and for each of them a cell of the journal that only this worker writes. Exchanges reference the
 * share they were admitted on, so that what they use later is counted under it. */
#ifndef PROXY_LEASE_SHARE_H
#define PROXY_LEASE_SHARE_H

#include "services/proxy/billing_wait.h"
#include "services/proxy/journal.h"
#include "services/proxy/lease.h"

struct lease_share {
    struct lease *lease;       /* referenced */
    struct journal_cell *cell; /* NULL until something is spent */
    unsigned refs;             /* the purse, and each exchange */
    struct lease_purse *purse; /* NULL: it is in none any more */
    struct lease_share *next;
    struct billing_link all; /* among all of the worker that are in a purse */
};

struct lease_purse {
    struct lease_share *first;
    struct billing_waits waiting; /* requests that found nothing to spend */
    int64_t asked_ns;             /* the billing thread was asked for more; 0: it was not */
    int64_t refused_ns;           /* when subd last refused more; 0: it did not */
    int64_t failed_ns;            /* when asking last failed; 0: it did not */
    struct lease_refused refused;
};

enum lease_take {
    LEASE_TAKEN,
    LEASE_EMPTY, /* ask for more */
    LEASE_FULL,  /* the journal has no cell: nothing may be served */
};

void lease_purse_init(struct lease_purse *purse);
/* Takes the caller's reference over. `all` is the worker's list. */
void lease_purse_add(struct lease_purse *purse, struct lease *lease, struct billing_waits *all);
/* One request out of the oldest lease that has one. *out is referenced for the exchange. */
enum lease_take lease_purse_take(struct lease_purse *purse, struct journal *journal,
                                 unsigned region, int64_t now_ns, struct lease_share **out);
/* A share that can be charged now instead of this one, which has run out; NULL: none. Not
 * referenced. */
struct lease_share *lease_purse_other(struct lease_purse *purse, struct journal *journal,
                                      unsigned region, int64_t now_ns);
/* Has a cell of the journal to count in, from now on. */
bool lease_share_open(struct lease_share *share, struct journal *journal, unsigned region);
bool lease_share_usable(const struct lease_share *share, int64_t now_ns);
void lease_purse_clear(struct lease_purse *purse);
void lease_share_ref(struct lease_share *share);
void lease_share_unref(struct lease_share *share);
/* Gives up what can no longer be spent, of all purses of the worker. */
void lease_share_sweep(struct billing_waits *all, int64_t now_ns);

#endif
