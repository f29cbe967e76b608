/* The worker's table of subscriptions: chained hash, and a list by last use for eviction. */
#include "services/proxy/subtable.h"

#include "libcommon/mem.h"
#include "services/proxy/token_cache.h"

#include <assert.h>
#include <string.h>

struct subtable {
    uint8_t key[16];
    struct subscription **buckets;
    size_t mask, count, max;
    struct subscription *newest, *oldest;
    void (*release)(void *ctx, struct subscription *sub);
    void *ctx;
};

struct subtable *subtable_new(size_t max, const uint8_t key[16],
                              void (*release)(void *ctx, struct subscription *sub), void *ctx)
{
    struct subtable *table = mem_zalloc(sizeof(*table));
    size_t buckets = 16;
    while (buckets < max)
        buckets *= 2;
    memcpy(table->key, key, 16);
    table->max = max;
    table->mask = buckets - 1;
    table->buckets = mem_array(buckets, sizeof(struct subscription *));
    table->release = release;
    table->ctx = ctx;
    return table;
}

static struct subscription **bucket_of(struct subtable *table, const char *id)
{
    return &table->buckets[token_cache_hash(table->key, id, SUB_ID_LEN) & table->mask];
}

static void list_remove(struct subtable *table, struct subscription *sub)
{
    *(sub->newer ? &sub->newer->older : &table->newest) = sub->older;
    *(sub->older ? &sub->older->newer : &table->oldest) = sub->newer;
}

static void list_add(struct subtable *table, struct subscription *sub)
{
    sub->newer = NULL;
    sub->older = table->newest;
    *(table->newest ? &table->newest->newer : &table->oldest) = sub;
    table->newest = sub;
}

static void drop(struct subtable *table, struct subscription *sub)
{
    struct subscription **link = bucket_of(table, sub->record.id);
    while (*link != sub)
        link = &(*link)->hash_next;
    *link = sub->hash_next;
    list_remove(table, sub);
    table->count--;
    if (table->release)
        table->release(table->ctx, sub);
    free(sub);
}

void subtable_free(struct subtable **table)
{
    if (!*table)
        return;
    while ((*table)->oldest)
        drop(*table, (*table)->oldest);
    free((*table)->buckets);
    free(*table);
    *table = NULL;
}

struct subscription *subtable_find(struct subtable *table, const char *id)
{
    struct subscription *sub = *bucket_of(table, id);
    while (sub && memcmp(sub->record.id, id, SUB_ID_LEN) != 0)
        sub = sub->hash_next;
    if (sub && sub != table->newest) {
        list_remove(table, sub);
        list_add(table, sub);
    }
    return sub;
}

/* Room for one more: the one that was not used for longest, among those that nobody holds. */
static bool make_room(struct subtable *table)
{
    struct subscription *sub = table->oldest;
    if (table->count < table->max)
        return true;
    while (sub && sub->refs > 0)
        sub = sub->newer;
    if (sub)
        drop(table, sub);
    return sub != NULL;
}

struct subscription *subtable_get(struct subtable *table, const char *id)
{
    struct subscription *sub = subtable_find(table, id);
    if (sub || !make_room(table))
        return sub;
    struct subscription **bucket = bucket_of(table, id);
    sub = mem_zalloc(sizeof(*sub));
    memcpy(sub->record.id, id, SUB_ID_LEN);
    sub->hash_next = *bucket;
    *bucket = sub;
    billing_waits_init(&sub->checking);
    lease_purse_init(&sub->purse);
    list_add(table, sub);
    table->count++;
    return sub;
}

void subtable_ref(struct subscription *sub)
{
    sub->refs++;
}

void subtable_unref(struct subscription *sub)
{
    assert(sub->refs > 0);
    sub->refs--;
}

size_t subtable_count(const struct subtable *table)
{
    return table->count;
}

void subtable_each(struct subtable *table, void (*fn)(void *ctx, struct subscription *sub),
                   void *ctx)
{
    for (struct subscription *sub = table->newest, *next; sub; sub = next) {
        next = sub->older;
        fn(ctx, sub);
    }
}

bool subtable_apply(struct subscription *sub, const struct sub_record *record, int64_t now_ns)
{
    if (record->version < sub->record.version)
        return false;
    bool changed = record->version > sub->record.version || sub->learned_ns == 0;
    sub->record = *record;
    sub->learned_ns = now_ns;
    sub->failed_ns = 0;
    return changed;
}

/* The record says no, but what it says may have been overtaken. */
static enum subtable_verdict refusal(const struct subscription *sub, int64_t now_ns)
{
    return now_ns - sub->learned_ns >= SUBTABLE_NEGATIVE_NS ? SUBTABLE_ASK : SUBTABLE_UNPAID;
}

enum subtable_verdict subtable_judge(const struct subscription *sub, const char *service,
                                     int64_t wall_s, int64_t now_ns)
{
    const struct sub_record *record = &sub->record;
    if (sub->learned_ns == 0)
        return SUBTABLE_ASK;
    switch (record->state) {
    case SUB_ACTIVE:
        break;
    case SUB_UNKNOWN:
    case SUB_PENDING:
    case SUB_SUSPENDED:
    case SUB_EXPIRED:
    case SUB_REVOKED:
        return refusal(sub, now_ns);
    }
    if (wall_s >= record->expiry)
        return refusal(sub, now_ns);
    return strcmp(record->service, service) == 0 ? SUBTABLE_PASS : SUBTABLE_NOT_COVERED;
}

const char *subtable_reason(const struct subscription *sub, int64_t wall_s)
{
    switch (sub->record.state) {
    case SUB_UNKNOWN:
        return "there is no such subscription";
    case SUB_PENDING:
        return "the subscription's payment is not confirmed yet";
    case SUB_ACTIVE:
        return wall_s >= sub->record.expiry ? "the subscription has expired"
                                            : "the subscription is not active";
    case SUB_SUSPENDED:
        return "the subscription is suspended";
    case SUB_EXPIRED:
        return "the subscription has expired";
    case SUB_REVOKED:
        return "the subscription is revoked";
    }
    return "the subscription is not active";
}
