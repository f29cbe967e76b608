/* Counts in chains by keyed hash, each few of them under a lock of their own: a connection is
 * opened and closed far more rarely than it is used. */
#include "services/proxy/ip_slot.h"

#include "libcommon/mem.h"
#include "services/proxy/token_cache.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#define BUCKETS 4096
#define LOCKS   64

struct ip_slot {
    struct ip_slots *slots;
    struct ip_slot *next;
    size_t bucket;
    uint8_t prefix[16];
    int64_t count;
};

struct ip_slots {
    uint8_t key[16];
    pthread_mutex_t locks[LOCKS];
    struct ip_slot *buckets[BUCKETS];
};

struct ip_slots *ip_slots_new(void)
{
    struct ip_slots *slots = mem_zalloc(sizeof(*slots));
    if (getrandom(slots->key, sizeof(slots->key), 0) != sizeof(slots->key))
        abort();
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&slots->locks[i], NULL);
    return slots;
}

void ip_slots_free(struct ip_slots **slots)
{
    if (!*slots)
        return;
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&(*slots)->locks[i]);
    free(*slots);
    *slots = NULL;
}

/* Under the bucket's lock. */
static struct ip_slot *find(struct ip_slots *slots, size_t bucket, const uint8_t prefix[16])
{
    struct ip_slot *slot = slots->buckets[bucket];
    while (slot && memcmp(slot->prefix, prefix, 16) != 0)
        slot = slot->next;
    if (slot)
        return slot;
    slot = mem_zalloc(sizeof(*slot));
    slot->slots = slots;
    slot->bucket = bucket;
    memcpy(slot->prefix, prefix, 16);
    slot->next = slots->buckets[bucket];
    slots->buckets[bucket] = slot;
    return slot;
}

struct ip_slot *ip_slot_take(struct ip_slots *slots, const struct address *address, int64_t limit)
{
    uint8_t prefix[16] = {0};
    memcpy(prefix, address->bytes, address_is_v4(address) ? 16 : 8);
    size_t bucket = token_cache_hash(slots->key, prefix, sizeof(prefix)) % BUCKETS;
    pthread_mutex_lock(&slots->locks[bucket % LOCKS]);
    struct ip_slot *slot = find(slots, bucket, prefix);
    if (slot->count >= limit)
        slot = NULL;
    else
        slot->count++;
    pthread_mutex_unlock(&slots->locks[bucket % LOCKS]);
    return slot;
}

void ip_slot_release(struct ip_slot **taken)
{
    struct ip_slot *slot = *taken;
    if (!slot)
        return;
    *taken = NULL;
    pthread_mutex_t *lock = &slot->slots->locks[slot->bucket % LOCKS];
    pthread_mutex_lock(lock);
    if (--slot->count == 0) {
        struct ip_slot **link = &slot->slots->buckets[slot->bucket];
        while (*link != slot)
            link = &(*link)->next;
        *link = slot->next;
        free(slot);
    }
    pthread_mutex_unlock(lock);
}
