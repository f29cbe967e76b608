/* The cache of verified tokens: chains by keyed hash, a clock hand for eviction. */
#include "services/proxy/token_cache.h"

#include "libcommon/mem.h"

#include <openssl/crypto.h>
#include <string.h>

#define NONE UINT32_MAX

struct entry {
    char *token; /* NULL: free */
    size_t len;
    uint64_t hash;
    uint32_t next; /* in the bucket */
    bool used;     /* since the hand came by */
    struct token_claims claims;
};

struct token_cache {
    uint8_t key[16];
    struct entry *entries;
    uint32_t *buckets;
    uint32_t max, mask, count, hand;
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
}

uint64_t token_cache_hash(const uint8_t key[16], const void *data, size_t len)
{
    const uint8_t *in = data;
    uint64_t k[2], word, last = (uint64_t)len << 56;
    memcpy(k, key, 16);
    uint64_t v[4] = {k[0] ^ 0x736f6d6570736575, k[1] ^ 0x646f72616e646f6d,
                     k[0] ^ 0x6c7967656e657261, k[1] ^ 0x7465646279746573};
    for (size_t i = 0; i + 8 <= len; i += 8) {
        memcpy(&word, in + i, 8);
        sip_word(v, word);
    }
    for (size_t i = len & ~(size_t)7; i < len; i++)
        last |= (uint64_t)in[i] << (8 * (i & 7));
    sip_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

struct token_cache *token_cache_new(size_t max, const uint8_t key[16])
{
    struct token_cache *cache = mem_zalloc(sizeof(*cache));
    uint32_t buckets = 16;
    while (buckets < max)
        buckets *= 2;
    memcpy(cache->key, key, 16);
    cache->max = (uint32_t)max;
    cache->mask = buckets - 1;
    cache->entries = mem_array(max, sizeof(*cache->entries));
    cache->buckets = mem_array(buckets, sizeof(*cache->buckets));
    memset(cache->buckets, 0xff, buckets * sizeof(*cache->buckets));
    return cache;
}

static void drop(struct token_cache *cache, struct entry *entry)
{
    uint32_t index = (uint32_t)(entry - cache->entries);
    uint32_t *link = &cache->buckets[entry->hash & cache->mask];
    while (*link != index)
        link = &cache->entries[*link].next;
    *link = entry->next;
    mem_wipe(entry->token, entry->len);
    free(entry->token);
    entry->token = NULL;
    cache->count--;
}

void token_cache_clear(struct token_cache *cache)
{
    for (uint32_t i = 0; i < cache->max; i++)
        if (cache->entries[i].token)
            drop(cache, &cache->entries[i]);
}

void token_cache_free(struct token_cache **cache)
{
    if (!*cache)
        return;
    token_cache_clear(*cache);
    mem_wipe((*cache)->key, sizeof((*cache)->key));
    free((*cache)->entries);
    free((*cache)->buckets);
    free(*cache);
    *cache = NULL;
}

static struct entry *look(struct token_cache *cache, uint64_t hash, const char *token, size_t len)
{
    for (uint32_t i = cache->buckets[hash & cache->mask]; i != NONE; i = cache->entries[i].next) {
        struct entry *entry = &cache->entries[i];
        if (entry->hash == hash && entry->len == len &&
            CRYPTO_memcmp(entry->token, token, len) == 0)
            return entry;
    }
    return NULL;
}

const struct token_claims *token_cache_find(struct token_cache *cache, const char *token,
                                            size_t len)
{
    struct entry *entry = look(cache, token_cache_hash(cache->key, token, len), token, len);
    if (!entry)
        return NULL;
    entry->used = true;
    return &entry->claims;
}

/* A place to write to: the next that is free or was not used for a turn of the hand. */
static struct entry *place(struct token_cache *cache)
{
    for (;;) {
        struct entry *entry = &cache->entries[cache->hand];
        cache->hand = (cache->hand + 1) % cache->max;
        if (entry->token && entry->used) {
            entry->used = false;
            continue;
        }
        if (entry->token)
            drop(cache, entry);
        return entry;
    }
}

void token_cache_add(struct token_cache *cache, const char *token, size_t len,
                     const struct token_claims *claims)
{
    uint64_t hash = token_cache_hash(cache->key, token, len);
    struct entry *entry = look(cache, hash, token, len);
    if (!entry) {
        entry = place(cache);
        uint32_t *bucket = &cache->buckets[hash & cache->mask];
        entry->token = mem_strndup(token, len);
        entry->len = len;
        entry->hash = hash;
        entry->next = *bucket;
        entry->used = false; /* until it comes again: most tokens that come once never do */
        *bucket = (uint32_t)(entry - cache->entries);
        cache->count++;
    }
    entry->claims = *claims;
}

size_t token_cache_count(const struct token_cache *cache)
{
    return cache->count;
}
