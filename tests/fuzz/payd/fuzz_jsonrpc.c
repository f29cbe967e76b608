/* Any bytes as a node's answer: the envelope, then its result as a block, as logs and as a balance,
 * or its error as the reason of a call that reverted. */
#include "services/payd/evm.h"
#include "services/payd/jsonrpc.h"
#include "services/payd/wallet_node.h"

static void refusal(const struct jsonrpc_answer *answer)
{
    struct wallet_revert revert;
    wallet_revert_read(answer->code, answer->message, answer->data, &revert);
    if (revert.why[0] == '\0' || (revert.already && !revert.reverted))
        abort();
    for (const char *at = revert.why; *at != '\0'; at++) {
        if (*at < ' ' || *at > '~')
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t contract[20] = {0x5f, 0xbd, 0xb2, 0x31, 0x56, 0x78, 0xaf,
                                         0xec, 0xb3, 0x67, 0xf0, 0x32, 0xd9, 0x3f,
                                         0x64, 0x2f, 0x64, 0x18, 0x0a, 0xa3};
    AUTO_JSONRPC_ANSWER struct jsonrpc_answer answer = {0};
    AUTO_EVM_EVENTS struct evm_events events = {0};
    struct evm_block block;
    struct err err;
    const void *text = data;
    int64_t gwei;
    if (jsonrpc_answer_parse(text, size, 1, &answer, &err) != 0)
        return 0;
    if (answer.failed) {
        refusal(&answer);
        return 0;
    }
    if (json_is_string(answer.result) &&
        wallet_node_gwei(json_string_value(answer.result), &gwei) == 0 && gwei < 0)
        abort();
    if (evm_block_parse(answer.result, &block, &err) == 0 && block.number < 0)
        abort();
    if (evm_events_parse(answer.result, contract, 100, &events, &err) == 0) {
        for (size_t i = 1; i < events.count; i++) {
            if (events.items[i].block < events.items[i - 1].block)
                abort();
        }
    }
    return 0;
}
