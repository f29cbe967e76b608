/* Purses. A share leaves its purse when it is spent or its lease is over, and ends with the last
 * exchange that counts on it; only then may the journal close the lease. */
#include "services/proxy/lease_share.h"

#include "libcommon/mem.h"

#include <assert.h>
#include <string.h>

void lease_purse_init(struct lease_purse *purse)
{
    memset(purse, 0, sizeof(*purse));
    billing_waits_init(&purse->waiting);
}

void lease_purse_add(struct lease_purse *purse, struct lease *lease, struct billing_waits *all)
{
    struct lease_share *share = mem_zalloc(sizeof(*share));
    struct lease_share **link = &purse->first;
    share->lease = lease;
    share->refs = 1;
    share->purse = purse;
    while (*link)
        link = &(*link)->next;
    *link = share;
    billing_link_append(all, &share->all);
}

void lease_share_ref(struct lease_share *share)
{
    share->refs++;
}

void lease_share_unref(struct lease_share *share)
{
    assert(share->refs > 0);
    if (--share->refs > 0)
        return;
    lease_unref(share->lease);
    free(share);
}

static void remove_share(struct lease_share *share)
{
    struct lease_share **link = &share->purse->first;
    while (*link != share)
        link = &(*link)->next;
    *link = share->next;
    share->purse = NULL;
    billing_link_remove(&share->all);
    lease_share_unref(share);
}

void lease_purse_clear(struct lease_purse *purse)
{
    while (purse->first)
        remove_share(purse->first);
}

bool lease_share_usable(const struct lease_share *share, int64_t now_ns)
{
    return lease_live(share->lease, now_ns) && !lease_spent(share->lease);
}

void lease_share_sweep(struct billing_waits *all, int64_t now_ns)
{
    struct billing_link *link = all->head.next;
    while (link != &all->head) {
        struct lease_share *share =
            (struct lease_share *)((char *)link - offsetof(struct lease_share, all));
        link = link->next;
        if (!lease_share_usable(share, now_ns))
            remove_share(share);
    }
}

bool lease_share_open(struct lease_share *share, struct journal *journal, unsigned region)
{
    if (share->cell)
        return true;
    const struct lease_grant *grant = &share->lease->grant;
    struct journal_identity identity = {.lease = grant->id, .period = grant->period};
    memcpy(identity.sub, grant->sub, sizeof(identity.sub));
    memcpy(identity.day, grant->day, sizeof(identity.day));
    share->cell = journal_cell_open(journal, region, &identity);
    return share->cell != NULL;
}

static void note_use(struct lease *lease)
{
    if (!atomic_load_explicit(&lease->used, memory_order_relaxed))
        atomic_store_explicit(&lease->used, true, memory_order_relaxed);
}

enum lease_take lease_purse_take(struct lease_purse *purse, struct journal *journal,
                                 unsigned region, int64_t now_ns, struct lease_share **out)
{
    for (struct lease_share *share = purse->first, *next; share; share = next) {
        next = share->next;
        if (lease_share_usable(share, now_ns) && share->lease->granted[SUB_REQUESTS] == 0)
            continue; /* for what goes on already */
        if (!lease_share_usable(share, now_ns) || !lease_spend(share->lease, SUB_REQUESTS, 1)) {
            remove_share(share);
            continue;
        }
        if (!lease_share_open(share, journal, region)) {
            lease_give_back(share->lease, SUB_REQUESTS, 1);
            return LEASE_FULL;
        }
        note_use(share->lease);
        lease_share_ref(share);
        *out = share;
        return LEASE_TAKEN;
    }
    return LEASE_EMPTY;
}

struct lease_share *lease_purse_other(struct lease_purse *purse, struct journal *journal,
                                      unsigned region, int64_t now_ns)
{
    for (struct lease_share *share = purse->first; share; share = share->next)
        if (lease_share_usable(share, now_ns) && lease_share_open(share, journal, region))
            return share;
    return NULL;
}
