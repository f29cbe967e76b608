/* Where idempotent answers are kept. Redis and PostgreSQL both can be behind it. */
#ifndef LIBCOMMON_HTTP_STORE_H
#define LIBCOMMON_HTTP_STORE_H

#include "libcommon/buf.h"

enum http_store_result {
    HTTP_STORE_NEW,      /* the key is claimed by this request for `claim_s` */
    HTTP_STORE_REPLAY,   /* the same request was answered: status, type and body are filled */
    HTTP_STORE_BUSY,     /* the same request is under way */
    HTTP_STORE_MISMATCH, /* the key was used with another body */
    HTTP_STORE_ERROR,    /* the store is away */
};

struct http_store {
    void *ctx;
    /* `key` is a SHA-256 in hex of route, scope and the client's key; `fingerprint` one of the
     * body. */
    enum http_store_result (*claim)(void *ctx, const char *key, const char *fingerprint,
                                    unsigned *status, struct buf *body);
    /* Keeps the answer for 24 h. status >= 500 releases the claim instead. */
    void (*finish)(void *ctx, const char *key, const char *fingerprint, unsigned status,
                   const char *body, size_t len);
};

struct redis;
struct http_store *http_store_redis_new(struct redis *redis);
void http_store_redis_free(struct http_store **store);

#endif
