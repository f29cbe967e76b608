/* 256-bit words and the part of the Solidity ABI that Octroi speaks. Everything that reads takes
 * data of a chain node, which may lie: offsets and lengths are checked against the data at hand. */
#include "libcommon/eth/abi.h"

#include "libcommon/eth/hex.h"
#include "libcommon/eth/keccak.h"

#include <assert.h>
#include <string.h>

struct word word_from_u64(uint64_t value)
{
    struct word word = {{0}};
    for (size_t i = 0; i < 8; i++)
        word.b[31 - i] = (uint8_t)(value >> (8 * i));
    return word;
}

struct word word_from_address(const uint8_t address[20])
{
    struct word word = {{0}};
    memcpy(word.b + 12, address, 20);
    return word;
}

static bool leading_zeros(const struct word *word, size_t count)
{
    uint8_t any = 0;
    for (size_t i = 0; i < count; i++)
        any |= word->b[i];
    return any == 0;
}

int word_to_u64(const struct word *word, uint64_t *out)
{
    if (!leading_zeros(word, 24))
        return -1;
    uint64_t value = 0;
    for (size_t i = 24; i < 32; i++)
        value = value << 8 | word->b[i];
    *out = value;
    return 0;
}

int word_to_address(const struct word *word, uint8_t out[20])
{
    if (!leading_zeros(word, 12))
        return -1;
    memcpy(out, word->b + 12, 20);
    return 0;
}

uint64_t word_bits(const struct word *word, unsigned lo, unsigned n)
{
    assert(n <= 64 && lo + n <= 256);
    uint64_t value = 0;
    for (unsigned i = n; i-- > 0;) {
        unsigned bit = lo + i;
        value = value << 1 | (word->b[31 - bit / 8] >> (bit % 8) & 1u);
    }
    return value;
}

void word_set_bits(struct word *word, unsigned lo, unsigned n, uint64_t value)
{
    assert(n <= 64 && lo + n <= 256);
    for (unsigned i = 0; i < n; i++) {
        unsigned bit = lo + i;
        uint8_t mask = (uint8_t)(1u << (bit % 8));
        if (value >> i & 1)
            word->b[31 - bit / 8] |= mask;
        else
            word->b[31 - bit / 8] &= (uint8_t)~mask;
    }
}

void word_hex(const struct word *word, char out[67])
{
    hex_encode(word->b, 32, out);
}

int word_from_hex(const char *text, struct word *out)
{
    size_t len = strlen(text);
    if (len < 3 || len > 66 || text[0] != '0' || text[1] != 'x')
        return -1;
    char padded[67];
    memset(padded, '0', sizeof(padded) - 1);
    padded[1] = 'x';
    memcpy(padded + 66 - (len - 2), text + 2, len - 2);
    padded[66] = '\0';
    return hex_decode(padded, out->b, 32);
}

/* Divides by ten in place; the remainder. */
static unsigned div10(struct word *word)
{
    unsigned rest = 0;
    for (size_t i = 0; i < 32; i++) {
        unsigned value = rest << 8 | word->b[i];
        word->b[i] = (uint8_t)(value / 10);
        rest = value % 10;
    }
    return rest;
}

void word_decimal(const struct word *word, char out[80])
{
    struct word left = *word;
    char reversed[80];
    size_t n = 0;
    do
        reversed[n++] = (char)('0' + div10(&left));
    while (!leading_zeros(&left, 32));
    for (size_t i = 0; i < n; i++)
        out[i] = reversed[n - 1 - i];
    out[n] = '\0';
}

int word_from_decimal(const char *text, struct word *out)
{
    if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
        return -1;
    struct word word = {{0}};
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return -1;
        unsigned carry = (unsigned)(*text - '0');
        for (size_t i = 32; i-- > 0;) {
            unsigned value = word.b[i] * 10u + carry;
            word.b[i] = (uint8_t)value;
            carry = value >> 8;
        }
        if (carry != 0)
            return -1;
    }
    *out = word;
    return 0;
}

void abi_selector(const char *signature, uint8_t out[4])
{
    struct word hash = abi_topic(signature);
    memcpy(out, hash.b, 4);
}

struct word abi_topic(const char *signature)
{
    struct word hash;
    keccak256(signature, strlen(signature), hash.b);
    return hash;
}

void abi_call(struct buf *out, const char *signature, const struct word *words, size_t count)
{
    uint8_t selector[4];
    abi_selector(signature, selector);
    buf_add(out, selector, sizeof(selector));
    for (size_t i = 0; i < count; i++)
        buf_add(out, words[i].b, 32);
}

int abi_word(const uint8_t *data, size_t len, size_t index, struct word *out)
{
    if (index >= len / 32)
        return -1;
    memcpy(out->b, data + 32 * index, 32);
    return 0;
}

int abi_bytes(const uint8_t *data, size_t len, size_t index, const uint8_t **out, size_t *out_len)
{
    struct word word;
    uint64_t offset, size;
    if (abi_word(data, len, index, &word) != 0 || word_to_u64(&word, &offset) != 0)
        return -1;
    if (offset > len || abi_word(data + offset, len - offset, 0, &word) != 0)
        return -1;
    if (word_to_u64(&word, &size) != 0 || size > len - offset - 32)
        return -1;
    *out = data + offset + 32;
    *out_len = size;
    return 0;
}
