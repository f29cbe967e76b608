/* Transactions with a priority fee (EIP-1559, type 2 of EIP-2718), without access list: what is
 * signed, what is sent, what it is called by. Fees are wei per gas in 64 bits (18 ether a gas at
 * most); the value is wei in 256 bits. */
#ifndef LIBCOMMON_ETH_TX_H
#define LIBCOMMON_ETH_TX_H

#include "libcommon/eth/abi.h"

struct eth_tx {
    uint64_t chain_id;
    uint64_t nonce;
    uint64_t priority_fee; /* max_priority_fee_per_gas */
    uint64_t max_fee;      /* max_fee_per_gas */
    uint64_t gas;          /* limit */
    uint8_t to[20];        /* creation of contracts has no form here */
    struct word value;
    const uint8_t *data; /* borrowed; may be NULL where data_len is 0 */
    size_t data_len;
};

/* What the sender signs: keccak256(0x02 ++ rlp of the nine fields). */
struct word tx_digest(const struct eth_tx *tx);
/* Appends what eth_sendRawTransaction takes. `signature` is r ++ s ++ v (v 27 or 28), as
 * sign_digest makes it. */
void tx_raw(const struct eth_tx *tx, const uint8_t signature[65], struct buf *out);
/* The hash that the chain knows a raw transaction by. */
struct word tx_hash(const struct buf *raw);

#endif
