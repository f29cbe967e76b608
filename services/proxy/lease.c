/* Balances by compare and swap: a request is admitted only by the thread that took it out. */
#include "services/proxy/lease.h"

#include "libcommon/mem.h"

#define MS 1000000LL

struct lease_account *lease_account_new(void)
{
    struct lease_account *account = mem_zalloc(sizeof(*account));
    account->refs = 1;
    return account;
}

void lease_account_unref(struct lease_account *account)
{
    if (atomic_fetch_sub_explicit(&account->refs, 1, memory_order_acq_rel) == 1)
        free(account);
}

struct lease *lease_new(const struct lease_grant *grant, int64_t sent_ns,
                        struct lease_account *account, void (*closed)(void *ctx, int64_t id),
                        void *ctx)
{
    struct lease *lease = mem_zalloc(sizeof(*lease));
    lease->refs = 1;
    lease->used = true;
    lease->grant = *grant;
    lease->deadline_ns = sent_ns + grant->ttl_ms * MS;
    lease->renew_ns = lease->deadline_ns - grant->ttl_ms * MS / 2;
    lease->closed = closed;
    lease->ctx = ctx;
    for (int i = 0; i < SUB_KINDS; i++) {
        lease->granted[i] = grant->amount[i];
        lease->left[i] = grant->amount[i];
    }
    atomic_fetch_add_explicit(&account->refs, 1, memory_order_relaxed);
    lease->account = account;
    return lease;
}

struct lease *lease_ref(struct lease *lease)
{
    atomic_fetch_add_explicit(&lease->refs, 1, memory_order_relaxed);
    return lease;
}

void lease_unref(struct lease *lease)
{
    if (atomic_fetch_sub_explicit(&lease->refs, 1, memory_order_acq_rel) != 1)
        return;
    lease->closed(lease->ctx, lease->grant.id);
    lease_account_unref(lease->account);
    free(lease);
}

bool lease_live(const struct lease *lease, int64_t now_ns)
{
    return now_ns < lease->deadline_ns &&
           !atomic_load_explicit(&lease->retired, memory_order_relaxed);
}

/* Messages and cost are lent only to who asks for them, and requests not to what goes on already:
 * a lease that holds none of a kind is not spent for that. */
static bool matters(const struct lease *lease, enum sub_kind kind)
{
    return (kind == SUB_REQUESTS || kind == SUB_BYTES) && lease->granted[kind] > 0;
}

static int64_t left(const struct lease *lease, enum sub_kind kind)
{
    return atomic_load_explicit(&lease->left[kind], memory_order_relaxed);
}

bool lease_spent(const struct lease *lease)
{
    for (int i = 0; i < SUB_KINDS; i++)
        if (matters(lease, (enum sub_kind)i) && left(lease, (enum sub_kind)i) <= 0)
            return true;
    return false;
}

bool lease_spend(struct lease *lease, enum sub_kind kind, int64_t n)
{
    int64_t seen = left(lease, kind);
    if (lease->granted[kind] == LEASE_UNLIMITED)
        return true;
    do {
        if (seen < n)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&lease->left[kind], &seen, seen - n,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

int64_t lease_spend_most(struct lease *lease, enum sub_kind kind, int64_t n)
{
    int64_t seen = left(lease, kind), taken;
    if (lease->granted[kind] == LEASE_UNLIMITED)
        return n;
    do {
        taken = seen < n ? seen : n;
        if (taken <= 0)
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(&lease->left[kind], &seen, seen - taken,
                                                    memory_order_relaxed, memory_order_relaxed));
    return taken;
}

bool lease_at_quarter(const struct lease *lease, enum sub_kind kind)
{
    return lease->granted[kind] > 0 && left(lease, kind) == lease->granted[kind] / 4;
}

void lease_give_back(struct lease *lease, enum sub_kind kind, int64_t n)
{
    if (lease->granted[kind] != LEASE_UNLIMITED)
        atomic_fetch_add_explicit(&lease->left[kind], n, memory_order_relaxed);
}

int64_t lease_charge(struct lease *lease, enum sub_kind kind, int64_t n)
{
    if (lease->granted[kind] == LEASE_UNLIMITED)
        return INT64_MAX;
    return atomic_fetch_sub_explicit(&lease->left[kind], n, memory_order_relaxed) - n;
}

bool lease_running_low(struct lease *lease, int64_t now_ns)
{
    bool low = now_ns >= lease->renew_ns;
    for (int i = 0; i < SUB_KINDS; i++)
        if (matters(lease, (enum sub_kind)i) &&
            left(lease, (enum sub_kind)i) <= lease->granted[i] / 2)
            low = true;
    return low && !atomic_load_explicit(&lease->asked, memory_order_relaxed) &&
           !atomic_exchange_explicit(&lease->asked, true, memory_order_relaxed);
}
