/* What jwt.c (tokens) needs of jwt_key.c (P-256 on OpenSSL); for nobody else. */
#ifndef LIBCOMMON_JWT_KEY_H
#define LIBCOMMON_JWT_KEY_H

#include "libcommon/jwt.h"

#include <stdbool.h>

/* The header part of this key's tokens, encoded. */
const char *jwt_key_header(const struct jwt_key *key);
/* r ++ s of ES256, 64 bytes. */
int jwt_key_sign(const struct jwt_key *key, const void *data, size_t len,
                 unsigned char signature[64], struct err *err) MUST_USE;
bool jwt_key_check(const struct jwt_key *key, const void *data, size_t len,
                   const unsigned char signature[64]);

#endif
