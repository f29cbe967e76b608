/* Verified tokens of one worker, so that a signature is checked once and not for each request. The
 * bucket is found by a keyed hash that nobody outside can compute, the entry by a comparison of the
 * whole token in constant time. Bounded; what was not used for longest gives way, roughly. */
#ifndef PROXY_TOKEN_CACHE_H
#define PROXY_TOKEN_CACHE_H

#include "libcommon/proto/sub.h"

#include <stdint.h>

struct token_claims {
    char sub[SUB_ID_LEN + 1];
    char aud[64];
    int64_t iat, exp; /* Unix seconds */
};

struct token_cache;

struct token_cache *token_cache_new(size_t max, const uint8_t key[16]);
void token_cache_free(struct token_cache **cache);
/* NULL where it is not there. Valid until the next call that changes the cache. Whether it has
 * expired is judged by who asks. */
const struct token_claims *token_cache_find(struct token_cache *cache, const char *token,
                                            size_t len);
void token_cache_add(struct token_cache *cache, const char *token, size_t len,
                     const struct token_claims *claims);
/* Forgets all: a signing key was withdrawn. */
void token_cache_clear(struct token_cache *cache);
size_t token_cache_count(const struct token_cache *cache);

/* SipHash-2-4. */
uint64_t token_cache_hash(const uint8_t key[16], const void *data, size_t len);

#endif
