/* How the chain is followed: one step reads what is new, finds out what is no longer so, and hands
 * both to the store, each as one atomic change. Knows neither HTTP nor SQL: a node and a store are
 * handed in as functions, so that every reorganisation can be played in a test. */
#ifndef PAYD_FOLLOW_H
#define PAYD_FOLLOW_H

#include "services/payd/evm.h"

#include <stdbool.h>

/* The last block that the store holds; before the first one the hash is empty. */
struct follow_cursor {
    int64_t number;
    char hash[EVM_HASH];
};

/* What a node says. Each returns -1 where it gave no usable answer. */
struct follow_chain {
    void *ctx;
    int (*latest)(void *ctx, struct evm_block *out, struct err *err);
    /* Highest block that may be confirmed, by the configured tag. NULL: the cursor's. */
    int (*ceiling)(void *ctx, int64_t *number, struct err *err);
    int (*block)(void *ctx, int64_t number, struct evm_block *out, bool *found, struct err *err);
    int (*events_of)(void *ctx, const char *block_hash, struct evm_events *out, struct err *err);
    /* -1 with *too_much: a smaller range may do better. */
    int (*events_in)(void *ctx, int64_t from, int64_t to, struct evm_events *out, bool *too_much,
                     struct err *err);
    /* Whether who answers still follows our chain: another's blocks are not those that we hold, as
     * after a reorganisation. NULL: not asked. */
    int (*ours)(void *ctx, struct err *err);
    /* Whether a block of ours that is not there, the lowest, may be taken back for it, with all
     * above `to`; -1: not now. NULL: always. */
    int (*gone)(void *ctx, const struct follow_cursor *block, int64_t to, struct err *err);
    /* Most blocks that events_in should be asked for. NULL: any number. */
    int64_t (*range)(void *ctx);
};

struct follow_batch {
    struct evm_block *blocks; /* ascending; every event's block and the last one are among them */
    size_t block_count;
    struct evm_events events;
    struct follow_cursor to;
};

/* What the followed chain looked like when a step succeeded. */
struct follow_view {
    int64_t head;
    int64_t ceiling;
};

struct follow_store {
    void *ctx;
    /* The highest block kept with number <= at_most (only number and hash are filled). */
    int (*kept)(void *ctx, int64_t at_most, struct evm_block *out, bool *found, struct err *err);
    /* Each is atomic, refuses if the cursor is not `from`, and judges open payments anew. */
    int (*advance)(void *ctx, const struct follow_cursor *from, const struct follow_batch *batch,
                   const struct follow_view *view, struct err *err);
    int (*rollback)(void *ctx, const struct follow_cursor *from, const struct follow_cursor *to,
                    const struct follow_view *view, struct err *err);
    int (*settle)(void *ctx, const struct follow_cursor *at, const struct follow_view *view,
                  struct err *err);
};

struct follow_options {
    const struct follow_chain *chain;
    const struct follow_store *store;
    int64_t first; /* the first block that can hold an event */
    int64_t tail;  /* blocks below the head that are read one by one, by hash */
    int64_t range; /* most blocks in one question further down */
    int64_t batch; /* most blocks of the tail in one step */
};

struct follow;

struct follow *follow_new(const struct follow_options *options, const struct follow_cursor *at);
void follow_free(struct follow **follow);

enum follow_progress {
    FOLLOW_CURRENT,     /* the cursor is the head */
    FOLLOW_MORE,        /* step again at once */
    FOLLOW_ROLLED_BACK, /* the same, after blocks left the chain */
};

/* -1: nothing was changed, or the store must be asked for its cursor again (make a new follow). */
int follow_step(struct follow *follow, enum follow_progress *progress, struct err *err) MUST_USE;
/* What was read from this block on is wrong: it is dropped as if it had left the chain, and read
 * again by the next steps, one by one up to this block. -1 as above. */
int follow_forget(struct follow *follow, int64_t number, struct err *err) MUST_USE;
const struct follow_cursor *follow_at(const struct follow *follow);
int64_t follow_head(const struct follow *follow);

#endif
