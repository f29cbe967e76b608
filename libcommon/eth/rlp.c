/* RLP's three shapes: a byte below 0x80 stands for itself, 55 bytes or fewer follow a one-byte
 * prefix, anything longer follows the length of its length. Strings and lists differ in the prefix
 * alone. */
#include "libcommon/eth/rlp.h"

#define STRING 0x80
#define LIST   0xc0
#define SHORT  55

/* Big-endian without leading zeros; how many bytes. */
static size_t shortest(uint64_t value, uint8_t out[8])
{
    size_t n = 0;
    for (int shift = 56; shift >= 0; shift -= 8) {
        uint8_t byte = (uint8_t)(value >> shift);
        if (n > 0 || byte != 0)
            out[n++] = byte;
    }
    return n;
}

static void prefix(struct buf *out, uint8_t shape, size_t len)
{
    uint8_t size[8];
    if (len <= SHORT) {
        buf_putc(out, (char)(shape + len));
        return;
    }
    size_t n = shortest(len, size);
    buf_putc(out, (char)(shape + SHORT + n));
    buf_add(out, size, n);
}

void rlp_bytes(struct buf *out, const void *data, size_t len)
{
    if (len != 1 || *(const uint8_t *)data >= STRING)
        prefix(out, STRING, len);
    if (len > 0)
        buf_add(out, data, len);
}

void rlp_u64(struct buf *out, uint64_t value)
{
    uint8_t bytes[8];
    size_t n = shortest(value, bytes);
    rlp_bytes(out, bytes, n);
}

void rlp_word(struct buf *out, const struct word *value)
{
    size_t zeros = 0;
    while (zeros < sizeof(value->b) && value->b[zeros] == 0)
        zeros++;
    rlp_bytes(out, value->b + zeros, sizeof(value->b) - zeros);
}

void rlp_list(struct buf *out, const struct buf *items)
{
    prefix(out, LIST, items->len);
    if (items->len > 0)
        buf_add(out, items->data, items->len);
}
