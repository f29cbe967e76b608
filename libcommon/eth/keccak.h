/* Keccak-256 as Ethereum uses it (the padding before FIPS 202), on nettle's permutation. */
#ifndef LIBCOMMON_ETH_KECCAK_H
#define LIBCOMMON_ETH_KECCAK_H

#include <stddef.h>
#include <stdint.h>

void keccak256(const void *data, size_t len, uint8_t out[32]);

#endif
