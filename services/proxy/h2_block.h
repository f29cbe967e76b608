/* A header list of HTTP/2 on its way to become the head of an HTTP/1.1 request: bounded while it is
 * read, then written as text and parsed by http1.h, so that one strict grammar guards both
 * versions. Pure functions over bytes. */
#ifndef PROXY_H2_BLOCK_H
#define PROXY_H2_BLOCK_H

#include "services/proxy/http1.h"

enum h2_block_result {
    H2_BLOCK_OK,
    H2_BLOCK_MALFORMED, /* the stream is to be reset */
    H2_BLOCK_BOMB,      /* so far beyond the limits that the connection is to be closed */
};

struct h2_block {
    struct h2_block *next_spare;
    struct http1_limits limits;
    bool trailers;
    bool overflow; /* beyond the limits: nothing more is kept */
    size_t count, bytes;
    h2o_iovec_t method, scheme, authority, path, protocol, host; /* base NULL: not there */
    char *text;                                                  /* field lines, behind the above */
    size_t text_len, fields_at;
    char *cookie; /* crumbs, joined */
    size_t cookie_len;
};

/* Lists that wait to be used again: a few, however many were open at a time. */
struct h2_block_spares {
    struct h2_block *first;
    unsigned count;
};

/* One allocation, released with free(). */
struct h2_block *h2_block_new(const struct http1_limits *limits);
/* A spare one where there is one for these limits, or a new one. */
struct h2_block *h2_block_take(struct h2_block_spares *spares, const struct http1_limits *limits);
/* Takes the block over, and nulls the caller's pointer; NULL goes through. */
void h2_block_give(struct h2_block_spares *spares, struct h2_block **block);
void h2_block_spares_free(struct h2_block_spares *spares);
void h2_block_begin(struct h2_block *block, bool trailers);
enum h2_block_result h2_block_add(struct h2_block *block, const char *name, size_t name_len,
                                  const char *value, size_t value_len);
/* The head as text in the pool, parsed; its fields are in `pool` too. `key`: for a WebSocket, which
 * has none of its own (RFC 8441). HTTP1_DONE, or HTTP1_ERROR with *error. */
enum http1_result h2_block_head(const struct h2_block *block, h2o_mem_pool_t *pool,
                                const uint64_t key[2], struct http1_field *scratch,
                                struct http1_head *head, struct http1_error *error);

#endif
