/* The request's body on its way to the origin, kept while it is sent so that a retry can send it
 * again: up to retry.buffer, and only where a retry is possible at all. Larger bodies stream, and
 * are sent once. */
#ifndef PROXY_REPLAY_H
#define PROXY_REPLAY_H

#include <h2o.h>
#include <stdbool.h>
#include <stddef.h>

struct exchange;
struct piece;

/* A member of the exchange. */
struct replay {
    char *data; /* in the request's pool */
    size_t len, cap, limit;
    size_t at;    /* sent again so far */
    bool pulled;  /* some of the body was taken from the client */
    bool keeping; /* all that was pulled is in `data` */
    bool ended;   /* and it is the whole body */
    bool over;    /* its end was handed out in this attempt */
    h2o_iovec_t trailers;
};

/* Once, before the first attempt: bodies up to `limit` bytes are kept. */
void replay_begin(struct exchange *exchange, size_t limit);
/* Before each attempt. */
void replay_rewind(struct exchange *exchange);
/* As exchange_pull, with what was kept before what comes. */
int replay_pull(struct exchange *exchange, struct piece *piece);
/* Whether the body can be sent again. */
bool replay_possible(const struct exchange *exchange);

#endif
