/* The bloom has 2048 bits; each address and each topic sets three of them, taken from its Keccak
 * hash. Bits of others can add up to ours, so a positive answer is only a reason to ask again. */
#include "services/payd/omission.h"

#include "libcommon/eth/hex.h"
#include "libcommon/eth/keccak.h"
#include "services/payd/evm.h"

#include <string.h>

#define BLOOM_BYTES 256

static bool holds(const uint8_t bloom[BLOOM_BYTES], const void *item, size_t len)
{
    uint8_t hash[32];
    keccak256(item, len, hash);
    for (size_t i = 0; i < 6; i += 2) {
        unsigned bit = ((unsigned)hash[i] << 8 | hash[i + 1]) & 2047;
        if ((bloom[BLOOM_BYTES - 1 - bit / 8] >> bit % 8 & 1) == 0)
            return false;
    }
    return true;
}

bool omission_possible(const json_t *block, const uint8_t contract[20])
{
    const char *text = json_string_value(json_object_get(block, "logsBloom"));
    uint8_t bloom[BLOOM_BYTES];
    if (text == NULL || hex_decode(text, bloom, sizeof(bloom)) != 0 || !holds(bloom, contract, 20))
        return false;
    for (int kind = 0; kind < EVM_OWN_KINDS; kind++) {
        struct word topic = evm_topic((enum evm_kind)kind);
        if (holds(bloom, topic.b, sizeof(topic.b)))
            return true;
    }
    return false;
}

static bool ours(const json_t *log, const uint8_t contract[20])
{
    const char *address = json_string_value(json_object_get(log, "address"));
    const char *first = json_string_value(json_array_get(json_object_get(log, "topics"), 0));
    uint8_t from[20];
    struct word topic;
    if (address == NULL || hex_decode(address, from, sizeof(from)) != 0 ||
        memcmp(from, contract, sizeof(from)) != 0 || first == NULL ||
        hex_decode(first, topic.b, sizeof(topic.b)) != 0)
        return false;
    for (int kind = 0; kind < EVM_OWN_KINDS; kind++) {
        struct word known = evm_topic((enum evm_kind)kind);
        if (memcmp(known.b, topic.b, sizeof(topic.b)) == 0)
            return true;
    }
    return false;
}

bool omission_receipts_hold(const json_t *receipts, const uint8_t contract[20])
{
    size_t i, k;
    json_t *receipt, *log;
    json_array_foreach(receipts, i, receipt)
    {
        json_array_foreach(json_object_get(receipt, "logs"), k, log)
        {
            if (ours(log, contract))
                return true;
        }
    }
    return false;
}
