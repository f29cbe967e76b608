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

enum evm_kind {
    EVM_PAID,
    EVM_REVOKED,
    EVM_REFUNDED,
    EVM_TRANSFER_REFUNDED,
    EVM_TOPPED_UP,
    EVM_SIGNER_CHANGED,
    EVM_TRANSFER, /* of a token, to our contract */
};

#define EVM_OWN_KINDS 6 /* those before EVM_TRANSFER: our contract's */

struct evm_event {
    enum evm_kind kind;
    int64_t block;
    int64_t log_index;
    char block_hash[EVM_HASH];
    char tx_hash[EVM_HASH];
    uint8_t subscriber[20];  /* paid, revoked, refunded */
    struct word service_id;  /* paid, revoked, refunded */
    uint8_t token[20];       /* all but revoked and signer changed */
    struct word terms;       /* paid */
    struct word amount;      /* all but revoked and signer changed */
    uint16_t seq;            /* revoked, refunded */
    bool revoked;            /* revoked */
    struct word transfer_id; /* transfer refunded */
    uint8_t account[20]; /* transfer, topped up: from; transfer refunded: to; signer changed: who */
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
/* The block as a question names it: its number, or "latest" where that is negative. */
json_t *evm_block_name(int64_t number);
/* 32 bytes of 0x-hex as lower-case text. */
int evm_hash(const json_t *json, char out[EVM_HASH]) MUST_USE;

/* So that sums with a number stay far from the end of 64 bits. */
#define EVM_BLOCK_MAX ((int64_t)1 << 53)

int evm_block_parse(const json_t *json, struct evm_block *out, struct err *err) MUST_USE;
/* Events of `contract` in the chain's order. Refused: more than `max`, another contract's, another
 * event, the same place twice. */
int evm_events_parse(const json_t *json, const uint8_t contract[20], size_t max,
                     struct evm_events *out, struct err *err) MUST_USE;
/* The same for transfers to `contract` (ERC-20) of one of the tokens. */
int evm_transfers_parse(const json_t *json, const uint8_t contract[20], const uint8_t (*tokens)[20],
                        size_t token_count, size_t max, struct evm_events *out,
                        struct err *err) MUST_USE;
/* Puts events of several answers into the chain's order; -1: the same place twice. */
int evm_events_order(struct evm_events *events, struct err *err) MUST_USE;
/* topics[0] of an event. */
struct word evm_topic(enum evm_kind kind);

#endif
