/* Transfers of listed tokens to the contract that no payment explains: whoever sends money without
 * a quote, or another amount than the quote's. They buy nothing and can be sent back. */
#ifndef PAYD_TRANSFER_H
#define PAYD_TRANSFER_H

#include "services/payd/book.h"

struct transfer_mark {
    int32_t ordinal; /* among the transfers of its transaction */
    bool unmatched;
};

/* For each event (in the chain's order, transactions whole), marks[i] if it is a transfer: every
 * Paid takes the first later transfer of its token and amount in the same transaction. */
void transfer_match(const struct evm_events *events, struct transfer_mark *marks);

/* keccak256(abi.encode(chain id, transaction, ordinal)), the id that the contract refunds once. */
struct word transfer_id(uint64_t chain_id, const char tx_hash[EVM_HASH], int32_t ordinal);

/* The others are parts of book.h's. */
int transfer_write(struct book *book, const struct evm_event *event, int32_t ordinal,
                   struct err *err) MUST_USE;
int transfer_refunded(struct book *book, const struct evm_event *event, struct err *err) MUST_USE;
int transfer_settle(struct book *book, int64_t cursor, int64_t ceiling, struct err *err) MUST_USE;
int transfer_undo(struct book *book, int64_t number, struct err *err) MUST_USE;

#endif
