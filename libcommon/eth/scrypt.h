/* scrypt (RFC 7914). OpenSSL's refuses n >= 2^(16 r), which the RFC asks for and common keystores
 * (n = 262144, r = 1) do not keep to. */
#ifndef LIBCOMMON_ETH_SCRYPT_H
#define LIBCOMMON_ETH_SCRYPT_H

#include "libcommon/err.h"

#include <stddef.h>
#include <stdint.h>

/* n: a power of two above 1; takes 128 * r * (n + p + 1) bytes, which the caller has bounded, and
 * wipes them. */
int scrypt_derive(const char *password, const uint8_t *salt, size_t salt_len, uint64_t n,
                  uint64_t r, uint64_t p, uint8_t out[32], struct err *err) MUST_USE;

#endif
