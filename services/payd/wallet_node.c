/* The wallet's questions as JSON-RPC. Quantities that do not fit become FEES_MOST where that is on
 * the safe side (fees), and an error elsewhere. */
#include "services/payd/wallet_node.h"

#include <stdio.h>
#include <string.h>

static int unreadable(struct rpc *rpc, const char *method, struct err *err)
{
    rpc_distrust(rpc, "an answer that cannot be read");
    return err_set(err, "%s: the answer cannot be read", method);
}

/* Nonces are counted on from here, so one that no address can have come to is none. */
static int read_count(const json_t *result, int64_t *out)
{
    return evm_quantity(result, out) == 0 && *out <= WALLET_NODE_NONCE_MAX ? 0 : -1;
}

int wallet_node_count(struct rpc *rpc, const char *address, int64_t block, int64_t *out,
                      struct err *err)
{
    AUTO_JSON json_t *result = NULL;
    enum rpc_fault fault;
    if (rpc_call(rpc, "eth_getTransactionCount",
                 json_pack("[s, o]", address, evm_block_name(block)), &result, &fault, err) != 0)
        return -1;
    return read_count(result, out) == 0 ? 0 : unreadable(rpc, "eth_getTransactionCount", err);
}

int wallet_node_gwei(const char *quantity, int64_t *out)
{
    struct word wei;
    uint64_t rest = 0, gwei = 0;
    if (word_from_hex(quantity, &wei) != 0)
        return -1;
    for (size_t i = 0; i < sizeof(wei.b); i++) {
        rest = rest << 8 | wei.b[i];
        if (gwei > (uint64_t)FEES_MOST >> 8) {
            *out = FEES_MOST;
            return 0;
        }
        gwei = gwei << 8 | rest / 1000000000;
        rest %= 1000000000;
    }
    *out = gwei > (uint64_t)FEES_MOST ? FEES_MOST : (int64_t)gwei;
    return 0;
}

static int block_read(const json_t *block, struct wallet_view *out)
{
    const json_t *base = json_object_get(block, "baseFeePerGas");
    out->priced = json_is_string(base);
    if (out->priced && evm_quantity(base, &out->market.base) != 0)
        out->market.base = FEES_MOST;
    return evm_quantity(json_object_get(block, "number"), &out->head);
}

static int view_read(json_t *const *results, struct wallet_view *out)
{
    const char *balance = json_string_value(results[3]);
    if (block_read(results[0], out) != 0 || read_count(results[1], &out->latest) != 0 ||
        read_count(results[2], &out->pending) != 0 || balance == NULL)
        return -1;
    return wallet_node_gwei(balance, &out->balance_gwei);
}

/* In one batch: one node's view of one moment. */
static int look_batch(struct rpc *rpc, const char *address, struct wallet_view *out,
                      struct err *err)
{
    AUTO_JSON json_t *block = json_pack("[s, b]", "latest", 0);
    AUTO_JSON json_t *latest = json_pack("[s, s]", address, "latest");
    AUTO_JSON json_t *pending = json_pack("[s, s]", address, "pending");
    const struct jsonrpc_call calls[] = {{"eth_getBlockByNumber", block},
                                         {"eth_getTransactionCount", latest},
                                         {"eth_getTransactionCount", pending},
                                         {"eth_getBalance", latest}};
    json_t *results[ARRAY_LEN(calls)] = {0};
    enum rpc_fault fault;
    if (rpc_batch(rpc, calls, ARRAY_LEN(calls), results, &fault, err) != 0)
        return -1;
    int rc = view_read(results, out);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        json_decref(results[i]);
    return rc == 0 ? 0 : unreadable(rpc, "the wallet's look at the chain", err);
}

/* A chain without the method, or without tips, asks for none. */
static int look_priority(struct rpc *rpc, struct wallet_view *out, struct err *err)
{
    AUTO_JSON json_t *result = NULL;
    enum rpc_fault fault;
    out->market.priority = 0;
    if (rpc_call(rpc, "eth_maxPriorityFeePerGas", json_array(), &result, &fault, err) != 0)
        return fault == RPC_REFUSED ? 0 : -1;
    if (evm_quantity(result, &out->market.priority) != 0)
        out->market.priority = FEES_MOST;
    return 0;
}

int wallet_node_look(struct rpc *rpc, const char *address, struct wallet_view *out, struct err *err)
{
    *out = (struct wallet_view){0};
    return look_batch(rpc, address, out, err) != 0 ? -1 : look_priority(rpc, out, err);
}

int wallet_node_receipt(struct rpc *rpc, const char *hash, struct wallet_receipt *out, bool *found,
                        struct err *err)
{
    AUTO_JSON json_t *receipt = NULL;
    enum rpc_fault fault;
    char named[EVM_HASH];
    int64_t status;
    *out = (struct wallet_receipt){0};
    if (rpc_call(rpc, "eth_getTransactionReceipt", json_pack("[s]", hash), &receipt, &fault, err) !=
        0)
        return -1;
    *found = !json_is_null(receipt) && !json_is_null(json_object_get(receipt, "blockHash"));
    if (!*found)
        return 0;
    if (evm_hash(json_object_get(receipt, "transactionHash"), named) != 0 ||
        strcmp(named, hash) != 0 ||
        evm_quantity(json_object_get(receipt, "blockNumber"), &out->block) != 0 ||
        evm_hash(json_object_get(receipt, "blockHash"), out->block_hash) != 0 ||
        evm_quantity(json_object_get(receipt, "status"), &status) != 0 || status > 1)
        return unreadable(rpc, "eth_getTransactionReceipt", err);
    out->reverted = status == 0;
    return 0;
}

int wallet_node_estimate(struct rpc *rpc, const char *from, const char *to, const char *data,
                         int64_t *gas, struct wallet_revert *why, struct err *err)
{
    AUTO_JSON json_t *result = NULL;
    enum rpc_fault fault;
    /* Not the pending block, which is what some nodes take: what others have sent may never be
     * mined. */
    json_t *params =
        json_pack("[{s:s, s:s, s:s}, s]", "from", from, "to", to, "data", data, "latest");
    *why = (struct wallet_revert){0};
    if (rpc_call(rpc, "eth_estimateGas", params, &result, &fault, err) == 0)
        return evm_quantity(result, gas) == 0 ? 0 : unreadable(rpc, "eth_estimateGas", err);
    if (fault != RPC_REFUSED)
        return -1;
    const struct rpc_refusal *refusal = rpc_refusal(rpc);
    wallet_revert_read(refusal->code, refusal->message, refusal->data, why);
    return 1;
}

/* Nodes agree on no codes here, only more or less on words: geth, Nitro, Nethermind, Erigon, anvil.
 */
static enum wallet_sent answer_read(const char *message)
{
    static const struct {
        const char *words;
        enum wallet_sent means;
    } known[] = {
        {"already known", WALLET_SENT_TAKEN},     {"already imported", WALLET_SENT_TAKEN},
        {"alreadyknown", WALLET_SENT_TAKEN},      {"known transaction", WALLET_SENT_TAKEN},
        {"nonce too low", WALLET_SENT_USED},      {"oldnonce", WALLET_SENT_USED},
        {"insufficient funds", WALLET_SENT_POOR}, {"insufficientfunds", WALLET_SENT_POOR},
        {"underpriced", WALLET_SENT_CHEAP},       {"less than block base fee", WALLET_SENT_CHEAP},
        {"fee too low", WALLET_SENT_CHEAP},       {"feetoolow", WALLET_SENT_CHEAP},
    };

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcasestr(message, known[i].words) != NULL)
            return known[i].means;
    }
    return WALLET_SENT_REFUSED;
}

int wallet_node_send(struct rpc *rpc, const char *raw, enum wallet_sent *out, struct err *err)
{
    AUTO_JSON json_t *result = NULL;
    enum rpc_fault fault;
    *out = WALLET_SENT_TAKEN;
    if (rpc_call(rpc, "eth_sendRawTransaction", json_pack("[s]", raw), &result, &fault, err) == 0)
        return 0;
    if (fault != RPC_REFUSED)
        return -1;
    *out = answer_read(rpc_refusal(rpc)->message);
    return 0;
}
