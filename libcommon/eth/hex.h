/* 0x-hex and addresses (EIP-55). */
#ifndef LIBCOMMON_ETH_HEX_H
#define LIBCOMMON_ETH_HEX_H

#include "libcommon/err.h"

#include <stddef.h>
#include <stdint.h>

/* Lower-case with 0x; out holds 2 * len + 3 bytes. */
void hex_encode(const void *data, size_t len, char *out);
/* The same without 0x; out holds 2 * len + 1 bytes. */
void hex_encode_bare(const void *data, size_t len, char *out);
/* Exactly len bytes, 0x required, any case. */
int hex_decode(const char *text, void *out, size_t len) MUST_USE;
/* Any even number of digits up to max bytes, 0x required. */
int hex_decode_any(const char *text, void *out, size_t max, size_t *len) MUST_USE;

/* 20 bytes from 0x + 40 digits; mixed case must have the right EIP-55 checksum. */
int hex_address(const char *text, uint8_t out[20], struct err *err) MUST_USE;
/* EIP-55 case. */
void hex_address_format(const uint8_t address[20], char out[43]);

#endif
