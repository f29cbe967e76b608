/* The digest is made of fields and not of a node's JSON, which may say the same in several ways. A
 * field that an event does not have is zero, so every event is as long as any other. */
#include "services/payd/claim.h"

#include "libcommon/eth/hex.h"
#include "libcommon/eth/keccak.h"

#include <string.h>

/* Kind, place, seq and flag as words; transaction, service, terms, amount, id; three addresses. */
#define EVENT_BYTES (9 * 32 + 3 * 20)

const struct follow_cursor *claim_newest(const struct claim *claim)
{
    return &claim->blocks[claim->count - 1].at;
}

bool claim_same(const struct claim *a, const struct claim *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct claim_block *x = &a->blocks[i], *y = &b->blocks[i];
        if (x->at.number != y->at.number || strcmp(x->at.hash, y->at.hash) != 0 ||
            memcmp(x->digest, y->digest, CLAIM_DIGEST) != 0 ||
            memcmp(x->own, y->own, CLAIM_DIGEST) != 0)
            return false;
    }
    return true;
}

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
    memcpy(at, data, len);
    return at + len;
}

static uint8_t *put_number(uint8_t *at, uint64_t value)
{
    struct word word = word_from_u64(value);
    return put(at, word.b, sizeof(word.b));
}

static uint8_t *put_event(uint8_t *at, const struct evm_event *event)
{
    struct word tx = {{0}};
    if (hex_decode(event->tx_hash, tx.b, sizeof(tx.b)) != 0)
        abort(); /* evm.c wrote it */
    at = put_number(at, (uint64_t)event->kind);
    at = put_number(at, (uint64_t)event->log_index);
    at = put_number(at, event->seq);
    at = put_number(at, event->revoked);
    at = put(at, tx.b, sizeof(tx.b));
    at = put(at, event->service_id.b, sizeof(event->service_id.b));
    at = put(at, event->terms.b, sizeof(event->terms.b));
    at = put(at, event->amount.b, sizeof(event->amount.b));
    at = put(at, event->transfer_id.b, sizeof(event->transfer_id.b));
    at = put(at, event->subscriber, sizeof(event->subscriber));
    at = put(at, event->token, sizeof(event->token));
    return put(at, event->account, sizeof(event->account));
}

void claim_digest(const struct evm_event *events, size_t count, bool transfers,
                  uint8_t out[CLAIM_DIGEST])
{
    AUTO_FREE uint8_t *bytes = mem_array(count + 1, EVENT_BYTES);
    uint8_t *at = bytes;
    for (size_t i = 0; i < count; i++) {
        if (transfers || events[i].kind != EVM_TRANSFER)
            at = put_event(at, &events[i]);
    }
    keccak256(bytes, (size_t)(at - bytes), out);
}
