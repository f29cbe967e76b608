/* The table of client addresses and their rates. */
#include "services/proxy/ip_rate.h"

#include "libcommon/mem.h"
#include "services/proxy/gcra.h"
#include "services/proxy/token_cache.h"

#include <string.h>
#include <sys/random.h>

#define WAYS  8
#define TRIES 4

struct entry {
    _Atomic uint64_t tag; /* of address and scope; 0: free */
    struct gcra gcra;
};

struct ip_rate {
    uint8_t key[16];
    uint64_t mask; /* of buckets */
    struct entry *entries;
};

struct ip_rate *ip_rate_new(size_t entries)
{
    struct ip_rate *table = mem_zalloc(sizeof(*table));
    if (getrandom(table->key, sizeof(table->key), 0) != sizeof(table->key))
        abort();
    table->mask = entries / WAYS - 1;
    table->entries = mem_array(entries, sizeof(*table->entries));
    return table;
}

void ip_rate_free(struct ip_rate **table)
{
    if (!*table)
        return;
    free((*table)->entries);
    free(*table);
    *table = NULL;
}

static uint64_t tag_of(const struct ip_rate *table, const struct address *address, uint64_t scope)
{
    struct {
        uint8_t address[16];
        uint64_t scope;
    } text = {.scope = scope};

    memcpy(text.address, address->bytes, address_is_v4(address) ? 16 : 8);
    uint64_t tag = token_cache_hash(table->key, &text, sizeof(text));
    return tag ? tag : 1;
}

/* The entry of this tag, or NULL; *victim is the one to forget, *seen its tag. */
static struct entry *look(struct entry *bucket, uint64_t tag, struct entry **victim, uint64_t *seen)
{
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < WAYS; i++) {
        uint64_t at = atomic_load_explicit(&bucket[i].tag, memory_order_relaxed);
        if (at == tag)
            return &bucket[i];
        int64_t arrival = atomic_load_explicit(&bucket[i].gcra.arrival_ns, memory_order_relaxed);
        if (arrival < least) {
            least = arrival;
            *victim = &bucket[i];
            *seen = at;
        }
    }
    return NULL;
}

static struct entry *find(struct ip_rate *table, uint64_t tag)
{
    struct entry *bucket = &table->entries[(tag & table->mask) * WAYS];
    for (size_t i = 0; i < TRIES; i++) {
        struct entry *victim = bucket;
        uint64_t seen = 0;
        struct entry *entry = look(bucket, tag, &victim, &seen);
        if (entry)
            return entry;
        if (atomic_compare_exchange_strong_explicit(&victim->tag, &seen, tag, memory_order_relaxed,
                                                    memory_order_relaxed)) {
            atomic_store_explicit(&victim->gcra.arrival_ns, 0, memory_order_relaxed);
            return victim;
        }
    }
    return NULL;
}

bool ip_rate_take(struct ip_rate *table, const struct address *address, uint64_t scope,
                  int64_t rate, int64_t burst, int64_t now_ns, int64_t *retry_ns)
{
    struct entry *entry = find(table, tag_of(table, address, scope));
    /* Other threads took the bucket's entries four times over meanwhile: let this one pass. */
    return !entry || gcra_take(&entry->gcra, rate, burst ? burst : rate, now_ns, retry_ns);
}
