/* The two encodings of an EIP-1559 transaction: nine fields to sign, twelve to send. */
#include "libcommon/eth/tx.h"

#include "libcommon/eth/keccak.h"
#include "libcommon/eth/rlp.h"

#include <string.h>

#define TYPE '\x02'

static void fields(const struct eth_tx *tx, struct buf *out)
{
    static const struct buf empty = {0};
    rlp_u64(out, tx->chain_id);
    rlp_u64(out, tx->nonce);
    rlp_u64(out, tx->priority_fee);
    rlp_u64(out, tx->max_fee);
    rlp_u64(out, tx->gas);
    rlp_bytes(out, tx->to, sizeof(tx->to));
    rlp_word(out, &tx->value);
    rlp_bytes(out, tx->data, tx->data_len);
    rlp_list(out, &empty); /* access list */
}

struct word tx_digest(const struct eth_tx *tx)
{
    AUTO_BUF struct buf items = {0}, text = {0};
    fields(tx, &items);
    buf_putc(&text, TYPE);
    rlp_list(&text, &items);
    return tx_hash(&text);
}

void tx_raw(const struct eth_tx *tx, const uint8_t signature[65], struct buf *out)
{
    AUTO_BUF struct buf items = {0};
    struct word r, s;
    memcpy(r.b, signature, 32);
    memcpy(s.b, signature + 32, 32);
    fields(tx, &items);
    rlp_u64(&items, signature[64] - 27u);
    rlp_word(&items, &r);
    rlp_word(&items, &s);
    buf_putc(out, TYPE);
    rlp_list(out, &items);
}

struct word tx_hash(const struct buf *raw)
{
    struct word hash;
    keccak256(raw->data, raw->len, hash.b);
    return hash;
}
