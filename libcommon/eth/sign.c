/* Signing and recovery on libsecp256k1. One context for the process, randomised once against side
 * channels and only read afterwards, so any thread may use it. The library signs with RFC 6979
 * nonces and low s by itself; what it accepts on recovery is wider than Ethereum's rules, so high s
 * and odd values of v are refused here. */
#include "libcommon/eth/sign.h"

#include "libcommon/eth/hex.h"
#include "libcommon/eth/keccak.h"
#include "libcommon/secret_memory.h"

#include <pthread.h>
#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

struct sign_key {
    uint8_t secret[32];
    uint8_t point[64];
    uint8_t address[20];
};

static secp256k1_context *context;
static pthread_once_t context_once = PTHREAD_ONCE_INIT;

static void context_make(void)
{
    uint8_t seed[32];
    context = secp256k1_context_create(SECP256K1_CONTEXT_SIGN | SECP256K1_CONTEXT_VERIFY);
    if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed) ||
        secp256k1_context_randomize(context, seed) != 1)
        abort();
    mem_wipe(seed, sizeof(seed));
}

static const secp256k1_context *ctx(void)
{
    pthread_once(&context_once, context_make);
    return context;
}

static void point_of(const secp256k1_pubkey *pubkey, uint8_t out[64])
{
    uint8_t point[65];
    size_t len = sizeof(point);
    secp256k1_ec_pubkey_serialize(ctx(), point, &len, pubkey, SECP256K1_EC_UNCOMPRESSED);
    memcpy(out, point + 1, 64);
}

static void address_of(const uint8_t point[64], uint8_t out[20])
{
    uint8_t hash[32];
    keccak256(point, 64, hash);
    memcpy(out, hash + 12, 20);
}

/* The 66 characters between surrounding white space; -1: not that long. */
static int trim(const char *text, char out[67])
{
    text += strspn(text, " \t\r\n");
    size_t len = strlen(text);
    while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
        len--;
    if (len != 66)
        return -1;
    memcpy(out, text, len);
    out[len] = '\0';
    return 0;
}

int sign_key_from_secret(const uint8_t secret[32], struct sign_key **out, struct err *err)
{
    secp256k1_pubkey pubkey;
    if (secp256k1_ec_seckey_verify(ctx(), secret) != 1 ||
        secp256k1_ec_pubkey_create(ctx(), &pubkey, secret) != 1)
        return err_set(err,
                       "not a secp256k1 private key: zero, or not below the order of the curve");
    struct sign_key *key = secret_memory_new(sizeof(*key));
    memcpy(key->secret, secret, sizeof(key->secret));
    point_of(&pubkey, key->point);
    address_of(key->point, key->address);
    *out = key;
    return 0;
}

int sign_key_from_hex(const char *text, struct sign_key **out, struct err *err)
{
    char digits[67] = "";
    uint8_t secret[32];
    int result = trim(text, digits) == 0 && hex_decode(digits, secret, 32) == 0
                     ? sign_key_from_secret(secret, out, NULL)
                     : -1;
    mem_wipe(digits, sizeof(digits));
    mem_wipe(secret, sizeof(secret));
    if (result != 0)
        return err_set(err, "not a secp256k1 private key: 0x and 64 hex digits, not zero and below "
                            "the order of the curve");
    return 0;
}

int sign_key_lock(struct sign_key *key, struct err *err)
{
    return secret_memory_lock(key, sizeof(*key), err);
}

int sign_secret_public(const uint8_t secret[32], uint8_t out[33])
{
    secp256k1_pubkey pubkey;
    size_t len = 33;
    if (secp256k1_ec_pubkey_create(ctx(), &pubkey, secret) != 1)
        return -1;
    return secp256k1_ec_pubkey_serialize(ctx(), out, &len, &pubkey, SECP256K1_EC_COMPRESSED) == 1
               ? 0
               : -1;
}

int sign_secret_add(uint8_t secret[32], const uint8_t tweak[32])
{
    return secp256k1_ec_seckey_tweak_add(ctx(), secret, tweak) == 1 ? 0 : -1;
}

void sign_key_address(const struct sign_key *key, uint8_t out[20])
{
    memcpy(out, key->address, 20);
}

void sign_key_public(const struct sign_key *key, uint8_t out[64])
{
    memcpy(out, key->point, 64);
}

void sign_key_free(struct sign_key **key)
{
    secret_memory_free(*key, sizeof(**key));
    *key = NULL;
}

static int sign_raw(const struct sign_key *key, const struct word *digest, uint8_t out[64],
                    int *parity, struct err *err)
{
    secp256k1_ecdsa_recoverable_signature signature;
    if (secp256k1_ecdsa_sign_recoverable(ctx(), &signature, digest->b, key->secret, NULL, NULL) !=
        1)
        return err_set(err, "the digest could not be signed");
    secp256k1_ecdsa_recoverable_signature_serialize_compact(ctx(), out, parity, &signature);
    /* 2 and 3 need r >= the order: Ethereum has no form for them, and nobody will ever see one. */
    if (*parity > 1)
        return err_set(err, "the signature has no Ethereum form");
    return 0;
}

int sign_digest_compact(const struct sign_key *key, const struct word *digest, uint8_t out[64],
                        struct err *err)
{
    int parity;
    if (sign_raw(key, digest, out, &parity, err) != 0)
        return -1;
    out[32] |= (uint8_t)(parity << 7);
    return 0;
}

int sign_digest(const struct sign_key *key, const struct word *digest, uint8_t out[65],
                struct err *err)
{
    int parity;
    if (sign_raw(key, digest, out, &parity, err) != 0)
        return -1;
    out[64] = (uint8_t)(27 + parity);
    return 0;
}

/* r ++ s and the parity of either form. */
static int split(const uint8_t *signature, size_t len, uint8_t rs[64], int *parity)
{
    if (len != 64 && len != 65)
        return -1;
    memcpy(rs, signature, 64);
    if (len == 64) {
        *parity = rs[32] >> 7;
        rs[32] &= 0x7f;
        return 0;
    }
    uint8_t v = signature[64];
    if (v != 0 && v != 1 && v != 27 && v != 28)
        return -1;
    *parity = v >= 27 ? v - 27 : v;
    return 0;
}

int sign_recover(const struct word *digest, const uint8_t *signature, size_t len, uint8_t out[20])
{
    uint8_t rs[64], point[64];
    int parity;
    secp256k1_ecdsa_recoverable_signature recoverable;
    secp256k1_ecdsa_signature plain;
    secp256k1_pubkey pubkey;
    if (split(signature, len, rs, &parity) != 0 ||
        secp256k1_ecdsa_recoverable_signature_parse_compact(ctx(), &recoverable, rs, parity) != 1)
        return -1;
    secp256k1_ecdsa_recoverable_signature_convert(ctx(), &plain, &recoverable);
    bool high_s = secp256k1_ecdsa_signature_normalize(ctx(), NULL, &plain) == 1;
    if (high_s || secp256k1_ecdsa_recover(ctx(), &pubkey, &recoverable, digest->b) != 1)
        return -1;
    point_of(&pubkey, point);
    address_of(point, out);
    return 0;
}
