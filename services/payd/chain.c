/* Asks the node what the follower wants to know and reads its answers strictly. Adds nothing of its
 * own: what to believe is follow.c's, whom to ask is rpc.c's. */
#include "services/payd/chain.h"

#include "libcommon/log.h"
#include "services/payd/omission.h"
#include "services/payd/span.h"

#include <stdio.h>
#include <string.h>

struct seen {
    struct evm_block block;
    bool suspect; /* its bloom leaves our events possible */
};

#define CROWD_TRIES 3 /* a refusal may pass */

/* A block whose transfers cannot be had. */
struct crowd {
    char block[EVM_HASH];
    unsigned tries;
};

struct chain {
    struct chain_options options;
    struct follow_chain view;
    struct logs *logs;
    struct seen latest; /* of this step; hash "": none, or it was used */
    struct seen last;   /* handed out last */
    struct span *spans; /* of each endpoint */
    struct crowd crowd;
};

/* *found is false where the node says that it has no such block. */
static int block_by(struct chain *chain, json_t *which, struct evm_block *out, bool *found,
                    struct err *err)
{
    AUTO_JSON json_t *result = NULL;
    enum rpc_fault fault;
    json_t *params = json_pack("[o, b]", which, 0);
    if (rpc_call(chain->options.rpc, "eth_getBlockByNumber", params, &result, &fault, err) != 0)
        return -1;
    *found = !json_is_null(result);
    if (*found && evm_block_parse(result, out, err) != 0) {
        rpc_distrust(chain->options.rpc, "a block that cannot be read");
        return -1;
    }
    chain->last = (struct seen){.suspect = false};
    if (*found)
        chain->last = (struct seen){*out, omission_possible(result, chain->options.logs.contract)};
    return 0;
}

/* Kept for the step that begins with it, which as a rule asks for this very block next. */
static int on_latest(void *ctx, struct evm_block *out, struct err *err)
{
    struct chain *chain = ctx;
    bool found;
    chain->latest = (struct seen){.suspect = false};
    if (block_by(chain, json_string("latest"), out, &found, err) != 0)
        return -1;
    chain->latest = chain->last;
    return found ? 0 : err_set(err, "the node has no latest block");
}

/* Before a chain has a safe or finalized block, nothing may be confirmed. */
static int on_ceiling(void *ctx, int64_t *number, struct err *err)
{
    struct chain *chain = ctx;
    struct evm_block block;
    bool found;
    const char *tag = chain->options.tag == CHAIN_SAFE ? "safe" : "finalized";
    /* What is read to check it has to be read after it. */
    chain->latest = (struct seen){.suspect = false};
    if (block_by(chain, json_string(tag), &block, &found, err) != 0)
        return err_wrap(err, "tag %s", tag);
    *number = found ? block.number : -1;
    return 0;
}

static int on_block(void *ctx, int64_t number, struct evm_block *out, bool *found, struct err *err)
{
    struct chain *chain = ctx;
    if (chain->latest.block.hash[0] == '\0' || chain->latest.block.number != number)
        return block_by(chain, evm_block_name(number), out, found, err);
    chain->last = chain->latest;
    chain->latest = (struct seen){.suspect = false};
    *out = chain->last.block;
    *found = true;
    return 0;
}

static int take_logs(struct chain *chain, json_t *const *results, size_t count,
                     struct evm_events *out, size_t *own_count, enum rpc_fault *fault,
                     struct err *err)
{
    if (logs_too_many(chain->logs, results, count)) {
        *fault = RPC_TOO_LARGE;
        return err_set(err, "more than %zu events in one answer", chain->options.logs.max_events);
    }
    return logs_read(chain->logs, results, count, out, own_count, err);
}

/* All answers come from one endpoint, in one round trip where it takes batches. RPC_NONE where they
 * came and cannot be read. */
static int ask_logs(struct chain *chain, const json_t *range, bool transfers,
                    struct evm_events *out, size_t *own_count, enum rpc_fault *fault,
                    struct err *err)
{
    struct jsonrpc_call calls[LOGS_CALLS];
    json_t *results[LOGS_CALLS] = {NULL};
    size_t count = logs_ask(chain->logs, range, transfers, calls);
    *out = (struct evm_events){0};
    int rc = rpc_batch(chain->options.rpc, calls, count, results, fault, err);
    if (rc == 0)
        rc = take_logs(chain, results, count, out, own_count, fault, err);
    for (size_t i = 0; i < count; i++) {
        json_decref(calls[i].params);
        json_decref(results[i]);
    }
    return rc;
}

static bool crowd_again(struct crowd *crowd, const char *block)
{
    if (strcmp(crowd->block, block) != 0) {
        *crowd = (struct crowd){.tries = 0};
        snprintf(crowd->block, sizeof(crowd->block), "%s", block);
    }
    return ++crowd->tries >= CROWD_TRIES;
}

/* Anybody can fill a block with transfers of nothing to the contract, and a token's owner can
 * change what it emits; neither must hold up what others pay. If it is the transfers that no answer
 * holds or that cannot be read, the block is read without them. */
static bool without_transfers(struct chain *chain, const char *block, const json_t *range,
                              enum rpc_fault fault, struct evm_events *out, size_t *own_count)
{
    enum rpc_fault again;
    if (block == NULL || chain->options.logs.token_count == 0 || fault == RPC_AWAY ||
        ask_logs(chain, range, false, out, own_count, &again, NULL) != 0)
        return false;
    if (!crowd_again(&chain->crowd, block)) {
        evm_events_clear(out);
        return false;
    }
    log_error("a block's transfers to the contract are too many or cannot be read: those that paid "
              "nothing are not recorded",
              LOG_STR(HASH, block));
    return true;
}

/* `block` names the range if it is a single block, else NULL: then which one is odd is looked for
 * before anybody is blamed. */
static int events(struct chain *chain, const char *block, const json_t *range,
                  struct evm_events *out, size_t *own_count, enum rpc_fault *fault, struct err *err)
{
    if (ask_logs(chain, range, true, out, own_count, fault, err) == 0)
        return 0;
    if (*fault == RPC_NONE && block != NULL)
        rpc_distrust(chain->options.rpc, "logs that cannot be read");
    return without_transfers(chain, block, range, *fault, out, own_count) ? 0 : -1;
}

enum answer { NO_ANSWER, HAS_NONE, HAS_SOME };

static enum answer another_says(struct chain *chain, size_t endpoint, const json_t *range)
{
    AUTO_JSON json_t *result = NULL;
    enum rpc_fault fault;
    struct jsonrpc_call call;
    logs_ask(chain->logs, range, false, &call);
    if (rpc_call_at(chain->options.rpc, endpoint, call.method, call.params, &result, &fault,
                    NULL) != 0)
        return NO_ANSWER;
    return json_array_size(result) > 0 ? HAS_SOME : HAS_NONE;
}

static bool receipts_say(struct chain *chain, size_t endpoint, const char *block_hash)
{
    AUTO_JSON json_t *receipts = NULL;
    enum rpc_fault fault;
    return rpc_call_at(chain->options.rpc, endpoint, "eth_getBlockReceipts",
                       json_pack("[s]", block_hash), &receipts, &fault, NULL) == 0 &&
           omission_receipts_hold(receipts, chain->options.logs.contract);
}

/* A node that has a block and not its logs makes a payment vanish. Where the bloom says that there
 * could be some, the others are asked, or, where none of them answers, this one for the receipts;
 * if nobody has any, there are none. */
static int missing_check(struct chain *chain, const char *block_hash, const json_t *range,
                         struct err *err)
{
    struct rpc *rpc = chain->options.rpc;
    int asked = rpc_last(rpc);
    bool heard = false;
    for (size_t i = 0; asked >= 0 && i < rpc_count(rpc); i++) {
        enum answer answer = (int)i == asked ? NO_ANSWER : another_says(chain, i, range);
        heard = heard || answer != NO_ANSWER;
        if (answer == HAS_SOME)
            return err_set(err, "%s has no events of block %s, %s has",
                           rpc_endpoint_name(rpc, (size_t)asked), block_hash,
                           rpc_endpoint_name(rpc, i));
    }
    if (asked >= 0 && !heard && receipts_say(chain, (size_t)asked, block_hash))
        return err_set(err, "%s has no events of block %s, and receipts of them",
                       rpc_endpoint_name(rpc, (size_t)asked), block_hash);
    return 0;
}

static int on_events_of(void *ctx, const char *block_hash, struct evm_events *out, struct err *err)
{
    struct chain *chain = ctx;
    enum rpc_fault fault;
    size_t own;
    AUTO_JSON json_t *range = json_pack("{s:s}", "blockHash", block_hash);
    if (events(chain, block_hash, range, out, &own, &fault, err) != 0)
        return -1;
    if (own > 0 || !chain->last.suspect || strcmp(chain->last.block.hash, block_hash) != 0)
        return 0;
    if (missing_check(chain, block_hash, range, err) == 0)
        return 0;
    evm_events_clear(out);
    return -1;
}

static int on_events_in(void *ctx, int64_t from, int64_t to, struct evm_events *out, bool *too_much,
                        struct err *err)
{
    enum rpc_fault fault;
    size_t own;
    AUTO_JSON json_t *range =
        json_pack("{s:o, s:o}", "fromBlock", evm_block_name(from), "toBlock", evm_block_name(to));
    struct chain *chain = ctx;
    const char *single = from == to ? json_string_value(json_object_get(range, "fromBlock")) : NULL;
    int rc = events(chain, single, range, out, &own, &fault, err);
    bool refused = rc != 0 && (fault == RPC_REFUSED || fault == RPC_TOO_LARGE);
    *too_much = refused || (rc != 0 && fault == RPC_NONE);
    int asked = rpc_last(chain->options.rpc);
    if (asked >= 0 && refused)
        span_refused(&chain->spans[asked], to - from + 1);
    else if (asked >= 0 && rc == 0)
        span_answered(&chain->spans[asked], to - from + 1);
    return rc;
}

static int on_ours(void *ctx, struct err *err)
{
    const struct chain *chain = ctx;
    return rpc_chain_again(chain->options.rpc, err);
}

static int64_t on_range(void *ctx)
{
    const struct chain *chain = ctx;
    int asked = rpc_last(chain->options.rpc);
    return asked < 0 ? INT64_MAX : span_most(&chain->spans[asked]);
}

struct chain *chain_new(const struct chain_options *options)
{
    struct chain *chain = mem_zalloc(sizeof(*chain));
    chain->options = *options;
    chain->logs = logs_new(&options->logs);
    chain->spans = mem_array(rpc_count(options->rpc), sizeof(*chain->spans));
    chain->view = (struct follow_chain){
        .ctx = chain,
        .latest = on_latest,
        .ceiling = options->tag == CHAIN_LATEST ? NULL : on_ceiling,
        .block = on_block,
        .events_of = on_events_of,
        .events_in = on_events_in,
        .ours = on_ours,
        .range = on_range,
    };
    return chain;
}

const struct follow_chain *chain_view(struct chain *chain)
{
    return &chain->view;
}

void chain_free(struct chain **chain_ptr)
{
    struct chain *chain = *chain_ptr;
    *chain_ptr = NULL;
    if (chain == NULL)
        return;
    free(chain->spans);
    logs_free(&chain->logs);
    free(chain);
}
