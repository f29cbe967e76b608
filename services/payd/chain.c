/* Asks the node what the follower wants to know and reads its answers strictly. Adds nothing of its
 * own: what to believe is follow.c's, whom to ask is rpc.c's. */
#include "services/payd/chain.h"

#include "libcommon/eth/hex.h"

#include <string.h>

struct chain {
    struct chain_options options;
    struct follow_chain view;
    json_t *address; /* of the filter */
    json_t *topics;
};

static json_t *quantity(int64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "0x%llx", (unsigned long long)value);
    return json_string(text);
}

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
    return 0;
}

static int on_latest(void *ctx, struct evm_block *out, struct err *err)
{
    bool found;
    if (block_by(ctx, json_string("latest"), out, &found, err) != 0)
        return -1;
    return found ? 0 : err_set(err, "the node has no latest block");
}

/* Before a chain has a safe or finalized block, nothing may be confirmed. */
static int on_ceiling(void *ctx, int64_t *number, struct err *err)
{
    struct chain *chain = ctx;
    struct evm_block block;
    bool found;
    const char *tag = chain->options.tag == CHAIN_SAFE ? "safe" : "finalized";
    if (block_by(chain, json_string(tag), &block, &found, err) != 0)
        return err_wrap(err, "tag %s", tag);
    *number = found ? block.number : -1;
    return 0;
}

static int on_block(void *ctx, int64_t number, struct evm_block *out, bool *found, struct err *err)
{
    return block_by(ctx, quantity(number), out, found, err);
}

static int events(struct chain *chain, json_t *filter, struct evm_events *out,
                  enum rpc_fault *fault, struct err *err)
{
    AUTO_JSON json_t *result = NULL;
    json_object_set(filter, "address", chain->address);
    json_object_set(filter, "topics", chain->topics);
    if (rpc_call(chain->options.rpc, "eth_getLogs", json_pack("[o]", filter), &result, fault,
                 err) != 0)
        return -1;
    if (json_array_size(result) > chain->options.max_events) {
        *fault = RPC_TOO_LARGE;
        return err_set(err, "%zu events in one answer", json_array_size(result));
    }
    if (evm_events_parse(result, chain->options.contract, chain->options.max_events, out, err) !=
        0) {
        rpc_distrust(chain->options.rpc, "logs that cannot be read");
        return -1;
    }
    return 0;
}

static int on_events_of(void *ctx, const char *block_hash, struct evm_events *out, struct err *err)
{
    enum rpc_fault fault;
    return events(ctx, json_pack("{s:s}", "blockHash", block_hash), out, &fault, err);
}

static int on_events_in(void *ctx, int64_t from, int64_t to, struct evm_events *out, bool *too_much,
                        struct err *err)
{
    enum rpc_fault fault;
    json_t *filter = json_pack("{s:o, s:o}", "fromBlock", quantity(from), "toBlock", quantity(to));
    int rc = events(ctx, filter, out, &fault, err);
    *too_much = rc != 0 && (fault == RPC_REFUSED || fault == RPC_TOO_LARGE);
    return rc;
}

static json_t *topics_filter(void)
{
    char paid[67], revoked[67];
    struct word word = evm_topic(EVM_PAID);
    word_hex(&word, paid);
    word = evm_topic(EVM_REVOKED);
    word_hex(&word, revoked);
    return json_pack("[[s, s]]", paid, revoked);
}

struct chain *chain_new(const struct chain_options *options)
{
    struct chain *chain = mem_zalloc(sizeof(*chain));
    char address[43];
    chain->options = *options;
    hex_encode(options->contract, 20, address);
    chain->address = json_string(address);
    chain->topics = topics_filter();
    chain->view = (struct follow_chain){
        .ctx = chain,
        .latest = on_latest,
        .ceiling = options->tag == CHAIN_LATEST ? NULL : on_ceiling,
        .block = on_block,
        .events_of = on_events_of,
        .events_in = on_events_in,
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
    json_decref(chain->address);
    json_decref(chain->topics);
    free(chain);
}
