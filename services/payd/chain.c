/* Asks the node what the follower wants to know and reads its answers strictly. Adds nothing of its
 * own: what to believe is follow.c's, whom to ask is rpc.c's. */
#include "services/payd/chain.h"

#include "libcommon/eth/hex.h"

#include <string.h>

struct chain {
    struct chain_options options;
    struct follow_chain view;
    json_t *address; /* of the filter for our contract's events */
    json_t *topics;
    json_t *token_list; /* and of the one for transfers */
    json_t *transfer_topics;
    uint8_t (*tokens)[20];
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

/* Two questions about the same blocks: our contract's events, and transfers of tokens to it. */
enum about { OWN_EVENTS, TRANSFERS };

static int read_logs(struct chain *chain, enum about about, const json_t *result,
                     struct evm_events *out, struct err *err)
{
    const struct chain_options *options = &chain->options;
    if (about == OWN_EVENTS)
        return evm_events_parse(result, options->contract, options->max_events, out, err);
    return evm_transfers_parse(result, options->contract, (const uint8_t(*)[20])chain->tokens,
                               options->token_count, options->max_events, out, err);
}

/* `range` names the blocks. */
static int ask_logs(struct chain *chain, enum about about, const json_t *range,
                    struct evm_events *out, enum rpc_fault *fault, struct err *err)
{
    AUTO_JSON json_t *result = NULL;
    json_t *filter = json_copy((json_t *)(uintptr_t)range);
    json_object_set(filter, "address", about == OWN_EVENTS ? chain->address : chain->token_list);
    json_object_set(filter, "topics", about == OWN_EVENTS ? chain->topics : chain->transfer_topics);
    if (rpc_call(chain->options.rpc, "eth_getLogs", json_pack("[o]", filter), &result, fault,
                 err) != 0)
        return -1;
    if (json_array_size(result) > chain->options.max_events) {
        *fault = RPC_TOO_LARGE;
        return err_set(err, "%zu events in one answer", json_array_size(result));
    }
    if (read_logs(chain, about, result, out, err) != 0) {
        rpc_distrust(chain->options.rpc, "logs that cannot be read");
        return -1;
    }
    return 0;
}

static int events(struct chain *chain, const json_t *range, struct evm_events *out,
                  enum rpc_fault *fault, struct err *err)
{
    AUTO_EVM_EVENTS struct evm_events own = {0};
    AUTO_EVM_EVENTS struct evm_events transfers = {0};
    *out = (struct evm_events){0};
    if (ask_logs(chain, OWN_EVENTS, range, &own, fault, err) != 0 ||
        (chain->options.token_count > 0 &&
         ask_logs(chain, TRANSFERS, range, &transfers, fault, err) != 0))
        return -1;
    evm_events_append(&own, &transfers);
    if (evm_events_order(&own, err) != 0) {
        rpc_distrust(chain->options.rpc, "two logs at one place");
        return -1;
    }
    *out = own;
    own = (struct evm_events){0};
    return 0;
}

static int on_events_of(void *ctx, const char *block_hash, struct evm_events *out, struct err *err)
{
    enum rpc_fault fault;
    AUTO_JSON json_t *range = json_pack("{s:s}", "blockHash", block_hash);
    return events(ctx, range, out, &fault, err);
}

static int on_events_in(void *ctx, int64_t from, int64_t to, struct evm_events *out, bool *too_much,
                        struct err *err)
{
    enum rpc_fault fault;
    AUTO_JSON json_t *range =
        json_pack("{s:o, s:o}", "fromBlock", quantity(from), "toBlock", quantity(to));
    int rc = events(ctx, range, out, &fault, err);
    *too_much = rc != 0 && (fault == RPC_REFUSED || fault == RPC_TOO_LARGE);
    return rc;
}

static json_t *word_json(const struct word *word)
{
    char text[67];
    word_hex(word, text);
    return json_string(text);
}

static json_t *topics_filter(void)
{
    json_t *any_of = json_array();
    for (int kind = 0; kind < EVM_OWN_KINDS; kind++) {
        struct word topic = evm_topic((enum evm_kind)kind);
        json_array_append_new(any_of, word_json(&topic));
    }
    return json_pack("[o]", any_of);
}

static json_t *transfer_filter(const uint8_t contract[20])
{
    struct word topic = evm_topic(EVM_TRANSFER), to = word_from_address(contract);
    return json_pack("[o, n, o]", word_json(&topic), word_json(&to));
}

static void take_tokens(struct chain *chain)
{
    const struct chain_options *options = &chain->options;
    chain->token_list = json_array();
    chain->tokens = mem_array(options->token_count + 1, sizeof(*chain->tokens));
    for (size_t i = 0; i < options->token_count; i++) {
        char address[43];
        memcpy(chain->tokens[i], options->tokens[i].address, 20);
        hex_encode(chain->tokens[i], 20, address);
        json_array_append_new(chain->token_list, json_string(address));
    }
}

struct chain *chain_new(const struct chain_options *options)
{
    struct chain *chain = mem_zalloc(sizeof(*chain));
    char address[43];
    chain->options = *options;
    hex_encode(options->contract, 20, address);
    chain->address = json_string(address);
    chain->topics = topics_filter();
    chain->transfer_topics = transfer_filter(options->contract);
    take_tokens(chain);
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
    json_decref(chain->token_list);
    json_decref(chain->transfer_topics);
    free(chain->tokens);
    free(chain);
}
