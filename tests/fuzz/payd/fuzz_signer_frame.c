/* Any bytes as a packet to the signer and as one from it: what is read is written the same again,
 * and what the policy lets through reads the same to everyone. */
#include "services/payd/signer/frame.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request(const uint8_t *data, size_t size)
{
    struct frame_request request;
    struct err err;
    uint8_t again[FRAME_REQUEST];
    if (frame_read_request(data, size, &request) != 0)
        return;
    if (frame_write_request(request.id, &request.tx, again) != 0 || memcmp(again, data, size) != 0)
        abort();
    struct policy policy = {.chain_id = 4441,
                            .contract = {0xc0, [19] = 1},
                            .max_fee = 1000,
                            .max_priority_fee = 100,
                            .max_gas = 500000};
    if (policy_check(&policy, &request.tx, &err) != 0)
        return;
    const struct eth_tx *tx = &request.tx;
    if (tx->chain_id != 4441 || memcmp(tx->to, policy.contract, 20) != 0 || tx->max_fee > 1000 ||
        tx->gas > 500000 || tx->data_len % 32 != 4 || word_bits(&tx->value, 0, 64) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_reply reply;
    uint8_t again[FRAME_REPLY];
    check_request(data, size);
    if (frame_read_reply(data, size, &reply) != 0)
        return 0;
    frame_write_reply(&reply, again);
    if (memcmp(again, data, size) != 0)
        abort();
    return 0;
}
