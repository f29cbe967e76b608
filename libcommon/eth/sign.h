/* secp256k1 signatures as Ethereum uses them: RFC 6979 nonces, low s, recovery, EIP-2098 compact
 * form. */
#ifndef LIBCOMMON_ETH_SIGN_H
#define LIBCOMMON_ETH_SIGN_H

#include "libcommon/eth/abi.h"

struct sign_key; /* a private key; wiped when freed */

/* 0x + 64 hex digits, surrounding white space allowed; not zero, below the order. */
int sign_key_from_hex(const char *text, struct sign_key **out, struct err *err) MUST_USE;
/* Of 32 bytes, big-endian; they stay the caller's to wipe. */
int sign_key_from_secret(const uint8_t secret[32], struct sign_key **out, struct err *err) MUST_USE;
/* Keeps the key out of swap and core dumps, and the process undumpable (secret_memory.h). */
int sign_key_lock(struct sign_key *key, struct err *err) MUST_USE;
/* The same where the process goes on without: what could not be had is a warning in the log. `what`
 * is the key of the configuration. */
void sign_key_guard(struct sign_key *key, const char *what);
void sign_key_address(const struct sign_key *key, uint8_t out[20]);
/* x ++ y of the public key. */
void sign_key_public(const struct sign_key *key, uint8_t out[64]);
void sign_key_free(struct sign_key **key);

/* For who derives keys: the compressed point of a secret, and secret + tweak modulo the order. -1:
 * one of them, or the sum, is not a private key; the secret is then zero. */
int sign_secret_public(const uint8_t secret[32], uint8_t out[33]) MUST_USE;
int sign_secret_add(uint8_t secret[32], const uint8_t tweak[32]) MUST_USE;

/* r ++ yParityAndS (EIP-2098). */
int sign_digest_compact(const struct sign_key *key, const struct word *digest, uint8_t out[64],
                        struct err *err) MUST_USE;
/* r ++ s ++ v with v 27 or 28. */
int sign_digest(const struct sign_key *key, const struct word *digest, uint8_t out[65],
                struct err *err) MUST_USE;

/* The signer's address. len 64 (EIP-2098) or 65 (v 0, 1, 27, 28); a high s is refused (EIP-2). */
int sign_recover(const struct word *digest, const uint8_t *signature, size_t len,
                 uint8_t out[20]) MUST_USE;

#endif
