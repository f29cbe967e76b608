/* The Solidity ABI, as far as Octroi speaks it: 32-byte words, call data and event logs. */
#ifndef LIBCOMMON_ETH_ABI_H
#define LIBCOMMON_ETH_ABI_H

#include "libcommon/buf.h"

#include <stdint.h>

/* 256-bit words, big-endian. */
struct word {
    uint8_t b[32];
};

struct word word_from_u64(uint64_t value);
struct word word_from_address(const uint8_t address[20]);
/* -1 where the value does not fit. */
int word_to_u64(const struct word *word, uint64_t *out) MUST_USE;
int word_to_address(const struct word *word, uint8_t out[20]) MUST_USE;
/* Bits lo..lo+n of the word, counted from the least significant; n <= 64. */
uint64_t word_bits(const struct word *word, unsigned lo, unsigned n);
void word_set_bits(struct word *word, unsigned lo, unsigned n, uint64_t value);
/* 0x + 64 digits; decimal. */
void word_hex(const struct word *word, char out[67]);
int word_from_hex(const char *text, struct word *out) MUST_USE; /* 0x + 1..64 digits */
void word_decimal(const struct word *word, char out[80]);
int word_from_decimal(const char *text, struct word *out) MUST_USE;

/* First four bytes of keccak256(signature), e.g. "approve(address,uint256)". */
void abi_selector(const char *signature, uint8_t out[4]);
/* keccak256 of an event's signature. */
struct word abi_topic(const char *signature);
/* selector ++ words. */
void abi_call(struct buf *out, const char *signature, const struct word *words, size_t count);
/* Reads word `index` of call or event data; -1 past the end. */
int abi_word(const uint8_t *data, size_t len, size_t index, struct word *out) MUST_USE;
/* Reads a dynamic `string` or `bytes` whose offset stands in word `index`; *out points into data.
 */
int abi_bytes(const uint8_t *data, size_t len, size_t index, const uint8_t **out,
              size_t *out_len) MUST_USE;

#endif
