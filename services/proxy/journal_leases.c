/* Sums of cells against what is sealed. Each counter is compared by itself and only ever grows, so
 * a cell that is older than the log (a disk that lost its last writes) reports nothing twice. */
#include "services/proxy/journal_leases.h"

#include "libcommon/mem.h"
#include "libcommon/proto/wire.h"

#include <string.h>

#define BUCKETS 16384

void journal_leases_init(struct journal_leases *leases)
{
    *leases = (struct journal_leases){.buckets = mem_array(BUCKETS, sizeof(void *))};
    leases->end = &leases->first;
}

void journal_leases_free(struct journal_leases *leases)
{
    for (struct journal_lease *lease = leases->first, *next; lease; lease = next) {
        next = lease->listed;
        free(lease);
    }
    free(leases->buckets);
    memset(leases, 0, sizeof(*leases));
}

static struct journal_lease **bucket_of(const struct journal_leases *leases, int64_t id)
{
    uint64_t hash = (uint64_t)id * 0x9e3779b97f4a7c15;
    return &leases->buckets[(hash >> 32) % BUCKETS];
}

struct journal_lease *journal_leases_find(const struct journal_leases *leases, int64_t id)
{
    struct journal_lease *lease = *bucket_of(leases, id);
    while (lease && lease->sealed.key.lease != id)
        lease = lease->next;
    return lease;
}

struct journal_lease *journal_leases_get(struct journal_leases *leases,
                                         const struct journal_key *key)
{
    struct journal_lease *lease = journal_leases_find(leases, key->lease);
    if (lease)
        return lease;
    struct journal_lease **bucket = bucket_of(leases, key->lease);
    lease = mem_zalloc(sizeof(*lease));
    lease->sealed.key = *key;
    lease->sealed.key.generation = 0;
    lease->next = *bucket;
    *bucket = lease;
    *leases->end = lease;
    leases->end = &lease->listed;
    leases->count++;
    return lease;
}

static void clear(struct journal_leases *leases)
{
    journal_leases_free(leases);
    journal_leases_init(leases);
}

void journal_leases_replay(struct journal_leases *leases, const struct journal_record *record)
{
    if (record->type == JOURNAL_CHECKPOINT)
        clear(leases);
    for (size_t i = 0; i < record->count; i++)
        journal_leases_get(leases, &record->states[i].key)->sealed = record->states[i];
}

void journal_leases_begin(struct journal_leases *leases)
{
    for (struct journal_lease *lease = leases->first; lease; lease = lease->listed)
        memset(lease->now, 0, sizeof(lease->now));
}

/* UNDONE is read before REQUESTS: a mark may be missing its undoing, never the reverse. */
void journal_leases_add(struct journal_leases *leases, const struct journal_cell *cell)
{
    struct journal_lease *lease = journal_leases_get(leases, &cell->key);
    lease->now[JOURNAL_UNDONE] +=
        atomic_load_explicit(&cell->counters[JOURNAL_UNDONE], memory_order_acquire);
    for (int i = 0; i < JOURNAL_COUNTERS; i++)
        if (i != JOURNAL_UNDONE)
            lease->now[i] += atomic_load_explicit(&cell->counters[i], memory_order_relaxed);
}

/* What a batch cannot carry in one entry is left for the next. */
static int64_t growth(const struct journal_lease *lease, enum journal_counter counter)
{
    uint64_t sealed = lease->sealed.counters[counter], now = lease->now[counter];
    uint64_t delta = now > sealed ? now - sealed : 0;
    return delta < WIRE_SPENT_MAX / 2 ? (int64_t)delta : WIRE_SPENT_MAX / 2;
}

bool journal_lease_entry(const struct journal_lease *lease, struct usage_entry *entry,
                         struct journal_state *after)
{
    struct journal_identity identity;
    bool any = lease->over && !lease->sealed.closed;
    *after = lease->sealed;
    after->closed = lease->over;
    for (int i = 0; i < JOURNAL_COUNTERS; i++) {
        int64_t delta = growth(lease, (enum journal_counter)i);
        after->counters[i] += (uint64_t)delta;
        any = any || delta > 0;
    }
    if (!any || lease->sealed.closed)
        return false;
    journal_key_text(&lease->sealed.key, &identity);
    *entry = (struct usage_entry){
        .lease = identity.lease,
        .period = identity.period,
        .requests = growth(lease, JOURNAL_REQUESTS) - growth(lease, JOURNAL_UNDONE),
        .bytes_in = growth(lease, JOURNAL_BYTES_IN),
        .bytes_out = growth(lease, JOURNAL_BYTES_OUT),
        .messages = growth(lease, JOURNAL_MESSAGES),
        .events = growth(lease, JOURNAL_EVENTS),
        .cost = growth(lease, JOURNAL_COST) - growth(lease, JOURNAL_COST_UNDONE),
        .closed = lease->over,
    };
    memcpy(entry->sub, identity.sub, sizeof(entry->sub));
    memcpy(entry->day, identity.day, sizeof(entry->day));
    return true;
}

void journal_leases_prune(struct journal_leases *leases)
{
    struct journal_lease **link = &leases->first;
    while (*link) {
        struct journal_lease *lease = *link;
        struct journal_lease **chain = bucket_of(leases, lease->sealed.key.lease);
        if (!lease->sealed.closed) {
            link = &lease->listed;
            continue;
        }
        while (*chain != lease)
            chain = &(*chain)->next;
        *chain = lease->next;
        *link = lease->listed;
        leases->count--;
        free(lease);
    }
    leases->end = link;
}
