/* Leases by subscription. The next slice follows recent use, so that a busy subscription asks
 * seldom and a quota's last requests are not locked away in a proxy that does not need them. */
#include "services/proxy/lease_book.h"

#include "libcommon/mem.h"

#include <string.h>

#define BUCKETS   16384
#define HELD      4                          /* leases of a subscription at a time */
#define IDLE_NS   (5LL * 1000 * 1000 * 1000) /* an unused lease goes back after this */
#define SECOND    1000000000LL
#define GROWTH    8 /* of one slice to the next, at most */
#define SLICE_MAX (1LL << 40)

static const int64_t smallest[SUB_KINDS] = {
    [SUB_REQUESTS] = 10, [SUB_BYTES] = 4 << 20, [SUB_MESSAGES] = 10, [SUB_COST] = 0};

struct held {
    struct lease *lease; /* referenced */
    int64_t since_ns, used_ns;
    uint64_t lent[LEASE_BOOK_WORKERS / 64]; /* workers that have it */
};

struct entry {
    struct entry *hash_next;
    struct entry *next, **link; /* all */
    char sub[SUB_ID_LEN + 1];
    struct lease_account *account;
    struct held held[HELD];
    unsigned count;
    uint64_t interested[LEASE_BOOK_WORKERS / 64];
    bool limited[SUB_KINDS];
    bool wanted, asked, requests, messages;
    int64_t cost;
    int64_t waiting;
    int64_t slice[SUB_KINDS]; /* last granted */
};

struct lease_book {
    const struct lease_book_ops *ops;
    int64_t ahead_s;
    struct entry **buckets;
    struct entry *first;
    size_t wanting; /* entries that are to be asked for */
};

struct lease_book *lease_book_new(const struct lease_book_ops *ops, int64_t ahead_s)
{
    struct lease_book *book = mem_zalloc(sizeof(*book));
    book->ops = ops;
    book->ahead_s = ahead_s;
    book->buckets = mem_array(BUCKETS, sizeof(*book->buckets));
    return book;
}

/* The id is hexadecimal digits of a hash; subd made it, so nobody chooses the bucket. */
static struct entry **bucket_of(const struct lease_book *book, const char *sub)
{
    uint64_t hash = 14695981039346656037u;
    for (const char *c = sub; *c; c++)
        hash = (hash ^ (uint8_t)*c) * 1099511628211u;
    return &book->buckets[hash % BUCKETS];
}

static struct entry *find(const struct lease_book *book, const char *sub)
{
    struct entry *entry = *bucket_of(book, sub);
    while (entry && strcmp(entry->sub, sub) != 0)
        entry = entry->hash_next;
    return entry;
}

static struct entry *get(struct lease_book *book, const char *sub)
{
    struct entry *entry = find(book, sub);
    if (entry)
        return entry;
    struct entry **bucket = bucket_of(book, sub);
    entry = mem_zalloc(sizeof(*entry));
    memcpy(entry->sub, sub, sizeof(entry->sub));
    entry->account = lease_account_new();
    entry->hash_next = *bucket;
    *bucket = entry;
    entry->next = book->first;
    entry->link = &book->first;
    if (book->first)
        book->first->link = &entry->next;
    book->first = entry;
    return entry;
}

static void retire(struct entry *entry, unsigned i)
{
    struct lease *lease = entry->held[i].lease;
    atomic_store_explicit(&lease->retired, true, memory_order_relaxed);
    entry->count--;
    memmove(&entry->held[i], &entry->held[i + 1], (entry->count - i) * sizeof(entry->held[0]));
    lease_unref(lease);
}

static void drop(struct lease_book *book, struct entry *entry)
{
    struct entry **link = bucket_of(book, entry->sub);
    while (*link != entry)
        link = &(*link)->hash_next;
    *link = entry->hash_next;
    *entry->link = entry->next;
    if (entry->next)
        entry->next->link = entry->link;
    while (entry->count)
        retire(entry, 0);
    lease_account_unref(entry->account);
    free(entry);
}

void lease_book_free(struct lease_book **book)
{
    if (!*book)
        return;
    while ((*book)->first)
        drop(*book, (*book)->first);
    free((*book)->buckets);
    free(*book);
    *book = NULL;
}

static bool test_and_set(uint64_t *bits, unsigned i)
{
    uint64_t bit = 1ull << (i % 64);
    bool was = (bits[i / 64] & bit) != 0;
    bits[i / 64] |= bit;
    return was;
}

/* Whether anything was lent that can be spent, beyond what is running low. */
static bool lend_held(struct lease_book *book, struct entry *entry, unsigned worker, int64_t now_ns)
{
    bool any = false;
    for (unsigned i = 0; i < entry->count; i++) {
        struct held *held = &entry->held[i];
        if (!lease_live(held->lease, now_ns) || lease_spent(held->lease) ||
            test_and_set(held->lent, worker))
            continue;
        book->ops->lend(book->ops->ctx, worker, lease_ref(held->lease));
        any = true;
    }
    return any;
}

void lease_book_want(struct lease_book *book, const struct lease_book_want *want, int64_t now_ns)
{
    struct entry *entry = get(book, want->sub);
    memcpy(entry->limited, want->limited, sizeof(entry->limited));
    test_and_set(entry->interested, want->worker);
    if (lend_held(book, entry, want->worker, now_ns))
        return;
    book->wanting += !entry->wanted;
    entry->wanted = true;
    entry->requests = entry->requests || !want->no_requests;
    entry->messages = entry->messages || want->messages;
    entry->cost += want->cost;
    entry->waiting += want->waiting;
}

static int64_t slice_of(double amount)
{
    return amount < (double)SLICE_MAX ? (int64_t)amount : SLICE_MAX;
}

/* What the newest lease's use says about the time ahead. */
static int64_t next_slice(const struct entry *entry, enum sub_kind kind, int64_t ahead_s,
                          int64_t now_ns)
{
    int64_t amount = smallest[kind];
    if (entry->count > 0) {
        const struct held *held = &entry->held[entry->count - 1];
        int64_t left = atomic_load_explicit(&held->lease->left[kind], memory_order_relaxed);
        int64_t spent = held->lease->granted[kind] - left;
        int64_t elapsed = now_ns - held->since_ns;
        if (elapsed < SECOND / 1000)
            elapsed = SECOND / 1000;
        int64_t follow = slice_of((double)spent * (double)ahead_s * SECOND / (double)elapsed);
        int64_t most = entry->slice[kind] * GROWTH;
        follow = follow < most ? follow : most;
        amount = follow > amount ? follow : amount;
    }
    if (kind == SUB_REQUESTS)
        amount += entry->waiting;
    if (kind == SUB_COST)
        amount += entry->cost;
    return amount < SLICE_MAX ? amount : SLICE_MAX;
}

/* Messages and cost are lent only to who asks for them. */
static bool lends(const struct entry *entry, enum sub_kind kind)
{
    return (kind != SUB_REQUESTS || entry->requests) && (kind != SUB_MESSAGES || entry->messages) &&
           (kind != SUB_COST || entry->cost > 0);
}

bool lease_book_wanting(const struct lease_book *book)
{
    return book->wanting > 0;
}

size_t lease_book_collect(struct lease_book *book, struct lease_ask *asks, size_t max,
                          int64_t now_ns)
{
    size_t count = 0;
    for (struct entry *entry = book->first; entry && count < max && book->wanting > 0;
         entry = entry->next) {
        if (!entry->wanted)
            continue;
        struct lease_ask *ask = &asks[count++];
        memset(ask, 0, sizeof(*ask));
        memcpy(ask->sub, entry->sub, sizeof(ask->sub));
        for (int i = 0; i < SUB_KINDS; i++)
            if (entry->limited[i] && lends(entry, (enum sub_kind)i))
                ask->want[i] = next_slice(entry, (enum sub_kind)i, book->ahead_s, now_ns);
        entry->wanted = entry->requests = entry->messages = false;
        entry->cost = 0;
        book->wanting--;
        entry->asked = true;
        entry->waiting = 0;
    }
    return count;
}

static void keep(struct entry *entry, struct lease *lease, int64_t now_ns)
{
    if (entry->count == HELD)
        retire(entry, 0);
    entry->held[entry->count++] =
        (struct held){.lease = lease, .since_ns = now_ns, .used_ns = now_ns};
    for (int i = 0; i < SUB_KINDS; i++)
        entry->slice[i] = lease->granted[i];
}

static void each_interested(struct entry *entry, struct lease_book *book,
                            void (*fn)(struct lease_book *book, struct entry *entry,
                                       unsigned worker, const void *arg),
                            const void *arg)
{
    for (unsigned i = 0; i < LEASE_BOOK_WORKERS; i++)
        if (entry->interested[i / 64] & (1ull << (i % 64)))
            fn(book, entry, i, arg);
}

static void deny_one(struct lease_book *book, struct entry *entry, unsigned worker,
                     const void *refused)
{
    book->ops->deny(book->ops->ctx, worker, entry->sub, refused);
}

/* Even where the first worker that got it has spent it by now: the others see that it is empty, and
 * ask again. */
static void lend_newest(struct lease_book *book, struct entry *entry, unsigned worker,
                        const void *unused)
{
    struct held *held = &entry->held[entry->count - 1];
    (void)unused;
    if (!test_and_set(held->lent, worker))
        book->ops->lend(book->ops->ctx, worker, lease_ref(held->lease));
}

void lease_book_granted(struct lease_book *book, const struct lease_grant *grant, int64_t sent_ns,
                        int64_t now_ns)
{
    struct entry *entry = get(book, grant->sub);
    entry->asked = false;
    if (!book->ops->anchor(book->ops->ctx, grant)) {
        each_interested(entry, book, deny_one, NULL);
        return;
    }
    keep(entry, lease_new(grant, sent_ns, entry->account, book->ops->closed, book->ops->ctx),
         now_ns);
    each_interested(entry, book, lend_newest, NULL);
}

void lease_book_refused(struct lease_book *book, const struct lease_refused *refused)
{
    struct entry *entry = find(book, refused->sub);
    if (!entry)
        return;
    entry->asked = false;
    each_interested(entry, book, deny_one, refused);
}

void lease_book_failed(struct lease_book *book, const char *sub)
{
    struct entry *entry = find(book, sub);
    if (!entry || !entry->asked)
        return;
    entry->asked = false;
    each_interested(entry, book, deny_one, NULL);
}

void lease_book_changed(struct lease_book *book, const char *sub)
{
    struct entry *entry = find(book, sub);
    while (entry && entry->count)
        retire(entry, 0);
}

static bool over(struct held *held, int64_t now_ns)
{
    if (atomic_exchange_explicit(&held->lease->used, false, memory_order_relaxed))
        held->used_ns = now_ns;
    return !lease_live(held->lease, now_ns) || lease_spent(held->lease) ||
           now_ns - held->used_ns > IDLE_NS;
}

void lease_book_sweep(struct lease_book *book, int64_t now_ns)
{
    for (struct entry *entry = book->first, *next; entry; entry = next) {
        next = entry->next;
        for (unsigned i = entry->count; i-- > 0;)
            if (over(&entry->held[i], now_ns))
                retire(entry, i);
        /* Its rate is kept as long as it says anything: a pause is no new burst. */
        if (entry->count == 0 && !entry->wanted && !entry->asked &&
            gcra_full(&entry->account->rate, now_ns))
            drop(book, entry);
    }
}

size_t lease_book_count(const struct lease_book *book)
{
    size_t count = 0;
    for (const struct entry *entry = book->first; entry; entry = entry->next)
        count += entry->count;
    return count;
}
