/* The questions about what happened in blocks, and how their answers are read: our contract's
 * events, and transfers of listed tokens to it. The same for whoever is asked. */
#ifndef PAYD_LOGS_H
#define PAYD_LOGS_H

#include "services/payd/evm.h"
#include "services/payd/jsonrpc.h"
#include "services/payd/ledger.h"

#define LOGS_CALLS 2 /* most calls about one range */

struct logs;

struct logs_options {
    uint8_t contract[20];
    const struct ledger_token *tokens; /* copied */
    size_t token_count;
    size_t max_events; /* in one answer */
};

struct logs *logs_new(const struct logs_options *options);
void logs_free(struct logs **logs);

/* One call, about our contract's events; a second one about transfers, where those are wanted and
 * there are tokens. `range` names the blocks as a filter does. The params are the caller's. */
size_t logs_ask(const struct logs *logs, const json_t *range, bool transfers,
                struct jsonrpc_call *calls);
/* More events in one of the answers than wanted. */
bool logs_too_many(const struct logs *logs, json_t *const *results, size_t count);
/* All events of one range in the chain's order, out of the results of its calls. *own_count: those
 * of our contract. */
int logs_read(const struct logs *logs, json_t *const *results, size_t count, struct evm_events *out,
              size_t *own_count, struct err *err) MUST_USE;

#endif
