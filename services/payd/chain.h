/* The node as the follower sees it: blocks and our contract's events over JSON-RPC. */
#ifndef PAYD_CHAIN_H
#define PAYD_CHAIN_H

#include "services/payd/follow.h"
#include "services/payd/logs.h"
#include "services/payd/rpc.h"

struct chain;

enum chain_tag { CHAIN_LATEST, CHAIN_SAFE, CHAIN_FINALIZED };

struct chain_options {
    struct rpc *rpc; /* not owned */
    enum chain_tag tag;
    struct logs_options logs; /* which events are read */
};

struct chain *chain_new(const struct chain_options *options);
void chain_free(struct chain **chain);
/* Lives as long as the chain. */
const struct follow_chain *chain_view(struct chain *chain);

#endif
