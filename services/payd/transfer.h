/* Transfers of listed tokens to the contract that no payment explains: whoever sends money without
 * a quote, or another amount than the quote's. They buy nothing and can be sent back. Anybody can
 * make any number of them for next to nothing, so only so many become rows. */
#ifndef PAYD_TRANSFER_H
#define PAYD_TRANSFER_H

#include "services/payd/book.h"

struct transfer_mark {
    int32_t ordinal; /* among the transfers of its transaction */
    bool unmatched;
};

/* For each event (in the chain's order, transactions whole), marks[i] if it is a transfer: every
 * Paid and every ToppedUp takes the first later transfer of its token and amount in the same
 * transaction. */
void transfer_match(const struct evm_events *events, struct transfer_mark *marks);

#define TRANSFER_BLOCK_MOST  20   /* of a token in a block */
#define TRANSFER_WINDOW      7200 /* blocks */
#define TRANSFER_WINDOW_MOST 2000 /* in them; beyond, one of a token in a block */

/* Of the unmatched transfers, which can be sent back at all, leaves `most` of each block and token
 * marked: the largest, the earlier of equal ones. How many others there were. */
size_t transfer_keep(const struct evm_events *events, const uint8_t contract[20], size_t most,
                     struct transfer_mark *marks);

/* keccak256(abi.encode(chain id, transaction, ordinal)), the id that the contract refunds once. */
struct word transfer_id(uint64_t chain_id, const char tx_hash[EVM_HASH], int32_t ordinal);

/* The others are parts of book.h's. transfer_explained: rows of transfers that are not marked go,
 * because what they paid for was read after them. transfer_bound: transfer_keep with what the
 * window leaves. */
int transfer_explained(struct book *book, const struct evm_events *events,
                       const struct transfer_mark *marks, struct err *err) MUST_USE;
int transfer_bound(struct book *book, const struct evm_events *events, struct transfer_mark *marks,
                   struct err *err) MUST_USE;
int transfer_write(struct book *book, const struct evm_event *event, int32_t ordinal,
                   struct err *err) MUST_USE;
int transfer_refunded(struct book *book, const struct evm_event *event, struct err *err) MUST_USE;
int transfer_settle(struct book *book, int64_t cursor, int64_t ceiling, struct err *err) MUST_USE;
int transfer_undo(struct book *book, int64_t number, struct err *err) MUST_USE;

#endif
