/* RLP, as far as transactions need it: writing (Ethereum yellow paper, appendix B). Integers go out
 * in the one form that nodes accept, without leading zeros; zero is the empty string. */
#ifndef LIBCOMMON_ETH_RLP_H
#define LIBCOMMON_ETH_RLP_H

#include "libcommon/eth/abi.h"

void rlp_bytes(struct buf *out, const void *data, size_t len);
void rlp_u64(struct buf *out, uint64_t value);
/* An integer of up to 256 bits. */
void rlp_word(struct buf *out, const struct word *value);
/* A list of what stands encoded in `items`; an empty buf is the empty list. */
void rlp_list(struct buf *out, const struct buf *items);

#endif
