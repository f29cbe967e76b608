/* What an EVM node says, as far as payd hears it: blocks and our contract's events, read strictly
 * out of JSON. Pure; every byte is hostile. Hashes are kept as lower-case text. */
#ifndef PAYD_EVM_H
#define PAYD_EVM_H

#include "libcommon/eth/abi.h"
#include "libcommon/json.h"

#define EVM_HASH 67 /* 0x + 64 digits + NUL */

struct evm_block {
    int64_t number;
    int64_t time; /* Unix seconds, as the block claims */
    char hash[EVM_HASH];
    char parent[EVM_HASH];
};

enum evm_kind { EVM_PAID, EVM_REVOKED };

struct evm_event {
    enum evm_kind kind;
    int64_t block;
    int64_t log_index;
    char block_hash[EVM_HASH];
    char tx_hash[EVM_HASH];
    uint8_t subscriber[20];
    struct word service_id;
    uint8_t token[20];  /* paid */
    struct word terms;  /* paid */
    struct word amount; /* paid */
    uint16_t seq;       /* revoked */
    bool revoked;       /* revoked */
};

struct evm_events {
    struct evm_event *items; /* owned */
    size_t count;
};

void evm_events_clear(struct evm_events *events);
#define AUTO_EVM_EVENTS CLEANUP(evm_events_clear)
/* Moves what is in `more` to the end of `events`. */
void evm_events_append(struct evm_events *events, struct evm_events *more);

/* "0x1f": no leading zeros, up to 63 bits. */
int evm_quantity(const json_t *json, int64_t *out) MUST_USE;
/* 32 bytes of 0x-hex as lower-case text. */
int evm_hash(const json_t *json, char out[EVM_HASH]) MUST_USE;

int evm_block_parse(const json_t *json, struct evm_block *out, struct err *err) MUST_USE;
/* Events of `contract` in the chain's order. Refused: more than `max`, another contract's, another
 * event, the same place twice. */
int evm_events_parse(const json_t *json, const uint8_t contract[20], size_t max,
                     struct evm_events *out, struct err *err) MUST_USE;
/* Topics of the events that evm_events_parse takes. */
struct word evm_topic(enum evm_kind kind);

#endif
