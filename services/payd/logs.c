/* The filters are made once; what a node answers is read strictly by evm.c. */
#include "services/payd/logs.h"

#include "libcommon/eth/hex.h"

#include <string.h>

struct logs {
    struct logs_options options;
    json_t *address; /* of the filter for our contract's events */
    json_t *topics;
    json_t *token_list; /* and of the one for transfers */
    json_t *transfer_topics;
    uint8_t (*tokens)[20];
};

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

static void take_tokens(struct logs *logs)
{
    const struct logs_options *options = &logs->options;
    logs->token_list = json_array();
    logs->tokens = mem_array(options->token_count + 1, sizeof(*logs->tokens));
    for (size_t i = 0; i < options->token_count; i++) {
        char address[43];
        memcpy(logs->tokens[i], options->tokens[i].address, 20);
        hex_encode(logs->tokens[i], 20, address);
        json_array_append_new(logs->token_list, json_string(address));
    }
}

struct logs *logs_new(const struct logs_options *options)
{
    struct logs *logs = mem_zalloc(sizeof(*logs));
    char address[43];
    logs->options = *options;
    hex_encode(options->contract, 20, address);
    logs->address = json_string(address);
    logs->topics = topics_filter();
    logs->transfer_topics = transfer_filter(options->contract);
    take_tokens(logs);
    logs->options.tokens = NULL;
    return logs;
}

void logs_free(struct logs **logs_ptr)
{
    struct logs *logs = *logs_ptr;
    *logs_ptr = NULL;
    if (logs == NULL)
        return;
    json_decref(logs->address);
    json_decref(logs->topics);
    json_decref(logs->token_list);
    json_decref(logs->transfer_topics);
    free(logs->tokens);
    free(logs);
}

static struct jsonrpc_call call_of(const json_t *range, json_t *address, json_t *topics)
{
    json_t *filter = json_copy((json_t *)(uintptr_t)range);
    json_object_set(filter, "address", address);
    json_object_set(filter, "topics", topics);
    return (struct jsonrpc_call){"eth_getLogs", json_pack("[o]", filter)};
}

size_t logs_ask(const struct logs *logs, const json_t *range, bool transfers,
                struct jsonrpc_call *calls)
{
    calls[0] = call_of(range, logs->address, logs->topics);
    if (!transfers || logs->options.token_count == 0)
        return 1;
    calls[1] = call_of(range, logs->token_list, logs->transfer_topics);
    return 2;
}

bool logs_too_many(const struct logs *logs, json_t *const *results, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (json_array_size(results[i]) > logs->options.max_events)
            return true;
    }
    return false;
}

int logs_read(const struct logs *logs, json_t *const *results, size_t count, struct evm_events *out,
              size_t *own_count, struct err *err)
{
    const struct logs_options *options = &logs->options;
    AUTO_EVM_EVENTS struct evm_events own = {0};
    AUTO_EVM_EVENTS struct evm_events transfers = {0};
    *out = (struct evm_events){0};
    if (evm_events_parse(results[0], options->contract, options->max_events, &own, err) != 0)
        return -1;
    if (count == 2 &&
        evm_transfers_parse(results[1], options->contract, (const uint8_t(*)[20])logs->tokens,
                            options->token_count, options->max_events, &transfers, err) != 0)
        return -1;
    *own_count = own.count;
    evm_events_append(&own, &transfers);
    if (evm_events_order(&own, err) != 0)
        return -1;
    *out = own;
    own = (struct evm_events){0};
    return 0;
}
