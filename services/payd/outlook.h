/* What a leader makes of its endpoints beyond following one of them: which to follow, whether they
 * agree before payments are confirmed, and since when the chain is away. One time of leading. */
#ifndef PAYD_OUTLOOK_H
#define PAYD_OUTLOOK_H

#include "services/payd/chain.h"
#include "services/payd/logs.h"
#include "services/payd/payd.h"
#include "services/payd/store.h"

struct outlook;

struct outlook_options {
    struct payd *payd;
    struct pg_conn *conn; /* the leader's session */
    struct store *store;
    struct rpc *rpc;
    const struct rpc_options *rpc_options; /* copied: the witnesses' own */
    const struct logs_options *logs;       /* copied */
    const struct follow_chain *chain;
};

struct outlook *outlook_new(const struct outlook_options *options);
void outlook_free(struct outlook **outlook);
/* The chain to follow, with the ceiling that the endpoints' agreement sets. */
const struct follow_chain *outlook_view(struct outlook *outlook);
/* Around each step: it begins at this block; it went well, or it failed with these words. */
void outlook_before(struct outlook *outlook, int64_t at);
void outlook_well(struct outlook *outlook);
/* After a step that went well: all endpoints say the same about this block, and not what we hold;
 * it and all above it must be read again. -1: none. */
int64_t outlook_wrong(const struct outlook *outlook);
/* Between steps: writes what the second look has found. */
void outlook_late(struct outlook *outlook);
void outlook_failed(struct outlook *outlook, const char *why);

#endif
