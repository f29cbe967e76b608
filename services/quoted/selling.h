/* Whether quotes are given at the moment, and if not, why: for /readyz, discovery and metrics. */
#ifndef QUOTED_SELLING_H
#define QUOTED_SELLING_H

#include <stdint.h>

struct quoted;

enum selling_state {
    SELLING_STARTING, /* payd was not heard yet */
    SELLING,
    SELLING_NO_BOOK,   /* the price book is not in force */
    SELLING_NO_STORE,  /* Redis is away */
    SELLING_NO_CHAIN,  /* payd or the chain is away */
    SELLING_NO_SIGNER, /* the contract's signer is none of our keys */
};

struct selling_view {
    enum selling_state state;
    int64_t since_s; /* Unix time */
};

/* A word for clients; NULL: quotes are given. */
const char *selling_reason(enum selling_state state);
void selling_read(struct quoted *quoted, struct selling_view *out);
/* What was heard of the chain, or the keys, changed: looked at again at once. */
void selling_changed(struct quoted *quoted);
void selling_start(struct quoted *quoted);
void selling_stop(struct quoted *quoted);

#endif
