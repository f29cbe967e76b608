/* Web3 secret storage, version 3: the JSON file in which wallets keep one
 * private key under a password. What the file asks for is bounded, so that a
 * crafted one costs neither memory nor time. No error repeats what stands in
 * the file. */
#ifndef LIBCOMMON_ETH_KEYSTORE_H
#define LIBCOMMON_ETH_KEYSTORE_H

#include "libcommon/eth/sign.h"

#define KEYSTORE_MAX        (16 * 1024)         /* bytes of the file */
#define KEYSTORE_MEMORY     (512 * 1024 * 1024) /* scrypt: 128 * r * (n + p); usual is 256 MiB */
#define KEYSTORE_WORK       (1 << 23)           /* scrypt: n * r * p; usual is 2^21 */
#define KEYSTORE_ROUNDS     5000000             /* pbkdf2; usual is 262144 */
#define KEYSTORE_SALT_MAX   64
#define KEYSTORE_SECRET_MAX 32

enum keystore_kdf { KEYSTORE_SCRYPT, KEYSTORE_PBKDF2 };

struct keystore {
    enum keystore_kdf kdf;
    uint64_t n, r, p; /* scrypt */
    uint64_t rounds;  /* pbkdf2, with HMAC-SHA256 */
    uint8_t salt[KEYSTORE_SALT_MAX];
    size_t salt_len;
    uint8_t iv[16];
    uint8_t ciphertext[KEYSTORE_SECRET_MAX];
    size_t ciphertext_len; /* old wallets cut leading zeros off */
    uint8_t mac[32];
    bool has_address;
    uint8_t address[20];
};

/* Reads the file without the password: form, algorithms and bounds. */
int keystore_parse(const char *json, size_t len, struct keystore *out, struct err *err) MUST_USE;
/* -1: the password is wrong or the file damaged, which looks the same. */
int keystore_decrypt(const struct keystore *keystore, const char *password, struct sign_key **out,
                     struct err *err) MUST_USE;

#endif
