/* What we hold about blocks that are about to be confirmed, in a form that other endpoints can be
 * held against: the newest block's hash stands for the chain below it, and for each block with
 * events a digest of all of them. Pure. */
#ifndef PAYD_CLAIM_H
#define PAYD_CLAIM_H

#include "services/payd/follow.h"

#define CLAIM_BLOCKS 16   /* most blocks compared in one step */
#define CLAIM_EVENTS 1000 /* and events, where more than one block is compared */
#define CLAIM_DIGEST 32

struct claim_block {
    struct follow_cursor at;
    uint8_t digest[CLAIM_DIGEST];
    uint8_t own[CLAIM_DIGEST]; /* of our contract's events alone */
};

struct claim {
    size_t count; /* 0: nothing is claimed */
    /* Ascending; the first is the oldest that waits. */
    struct claim_block blocks[CLAIM_BLOCKS];
};

/* The newest block; there must be one. */
const struct follow_cursor *claim_newest(const struct claim *claim);
bool claim_same(const struct claim *a, const struct claim *b);
/* Of the events of one block, in the chain's order (evm.h): place, transaction, and all that topics
 * and data say; with or without transfers. */
void claim_digest(const struct evm_event *events, size_t count, bool transfers,
                  uint8_t out[CLAIM_DIGEST]);

#endif
