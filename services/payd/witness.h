/* Every endpoint asked by itself, each on a thread and a connection of its own, so that one that
 * hangs holds up nobody: where its head is, whether it can show it, and whether it has the block
 * that payments are about to be confirmed by. */
#ifndef PAYD_WITNESS_H
#define PAYD_WITNESS_H

#include "libcommon/metrics.h"
#include "services/payd/agree.h"
#include "services/payd/claim.h"
#include "services/payd/logs.h"
#include "services/payd/rpc.h"

struct witness;

struct witness_options {
    struct rpc_options rpc;   /* its endpoints are the witnesses; stop and observe are set here */
    struct logs_options logs; /* which events count */
    int64_t head_every_ms;
    int64_t max_lag; /* blocks behind the best head after which an endpoint is left aside */
    int64_t wait_ms; /* how long one that lacks blocks is waited for */
    struct metrics *metrics;
};

struct witness *witness_start(const struct witness_options *options);
void witness_join(struct witness **witness);

/* Holds all against this claim, waits a moment, and gives what they have said about it so far;
 * where it is the same question again, what they said before holds until they have answered. */
void witness_ask(struct witness *witness, const struct claim *claim, struct agree_voice *voices);
/* Whether this endpoint should be followed only where no other can be. */
bool witness_behind(struct witness *witness, size_t endpoint);
/* The names of those that say otherwise than the last claim. */
void witness_contradicting(struct witness *witness, char *out, size_t size);

#endif
