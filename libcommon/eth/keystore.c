/* Version 3 of the format with its two key derivations; AES-128-CTR hides the
 * key, a Keccak over half of the derived key and the ciphertext tells a wrong
 * password. Members that the format does not name are tolerated at the top,
 * where wallets keep notes of their own, and refused inside "crypto", where one
 * could change what the others mean. */
#include "libcommon/eth/keystore.h"

#include "libcommon/eth/hex.h"
#include "libcommon/eth/keccak.h"
#include "libcommon/eth/scrypt.h"
#include "libcommon/json.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#define DERIVED 32 /* dklen: 16 bytes for AES, 16 for the MAC */

/* Hex with or without 0x. */
static int member_hex(const json_t *object, const char *key, void *out, size_t max, size_t *len,
                      struct err *err)
{
    char digits[2 * KEYSTORE_SALT_MAX + 3] = "0x";
    const char *text;
    if (json_get_str(object, key, 2 * max + 2, &text, err) != 0)
        return -1;
    bool prefixed = text[0] == '0' && text[1] == 'x';
    snprintf(digits, sizeof(digits), "%s%s", prefixed ? "" : "0x", text);
    if (hex_decode_any(digits, out, max, len) != 0)
        return err_set(err, "%s: must be at most %zu bytes in hex", key, max);
    return 0;
}

static int member_exact(const json_t *object, const char *key, void *out, size_t want,
                        struct err *err)
{
    size_t len;
    if (member_hex(object, key, out, want, &len, err) != 0)
        return -1;
    return len == want ? 0 : err_set(err, "%s: must be %zu bytes in hex", key, want);
}

static int member_is(const json_t *object, const char *key, const char *want, struct err *err)
{
    const char *text;
    if (json_get_str(object, key, 64, &text, err) != 0)
        return -1;
    return strcmp(text, want) == 0 ? 0 : err_set(err, "%s: only %s is known", key, want);
}

static int member_count(const json_t *object, const char *key, int64_t max, uint64_t *out,
                        struct err *err)
{
    int64_t value;
    if (json_get_int(object, key, 1, max, &value, err) != 0)
        return -1;
    *out = (uint64_t)value;
    return 0;
}

static int common_params(const json_t *params, struct keystore *out, struct err *err)
{
    int64_t dklen;
    return json_get_int(params, "dklen", DERIVED, DERIVED, &dklen, err) != 0
               ? -1
               : member_hex(params, "salt", out->salt, sizeof(out->salt), &out->salt_len, err);
}

static int scrypt_params(const json_t *params, struct keystore *out, struct err *err)
{
    static const char *const known[] = {"dklen", "n", "p", "r", "salt", NULL};
    if (json_only(params, known, err) != 0 || common_params(params, out, err) != 0 ||
        member_count(params, "n", INT32_MAX, &out->n, err) != 0 ||
        member_count(params, "r", 1 << 16, &out->r, err) != 0 ||
        member_count(params, "p", 1 << 16, &out->p, err) != 0)
        return -1;
    if (out->n < 2 || (out->n & (out->n - 1)) != 0)
        return err_set(err, "n: must be a power of two above 1");
    if ((out->n + out->p) * out->r > KEYSTORE_MEMORY / 128)
        return err_set(err, "n, r: scrypt would take more than %d MiB of memory",
                       KEYSTORE_MEMORY / (1024 * 1024));
    if (out->n * out->r * out->p > KEYSTORE_WORK)
        return err_set(err, "n, r, p: scrypt would take more than four times the usual work");
    return 0;
}

static int pbkdf2_params(const json_t *params, struct keystore *out, struct err *err)
{
    static const char *const known[] = {"c", "dklen", "prf", "salt", NULL};
    if (json_only(params, known, err) != 0 || common_params(params, out, err) != 0)
        return -1;
    return member_is(params, "prf", "hmac-sha256", err) != 0
               ? -1
               : member_count(params, "c", KEYSTORE_ROUNDS, &out->rounds, err);
}

static int kdf(const json_t *crypto, struct keystore *out, struct err *err)
{
    const char *name;
    const json_t *params;
    if (json_get_str(crypto, "kdf", 64, &name, err) != 0 ||
        json_get_object(crypto, "kdfparams", &params, err) != 0)
        return -1;
    int result;
    if (strcmp(name, "scrypt") == 0) {
        out->kdf = KEYSTORE_SCRYPT;
        result = scrypt_params(params, out, err);
    } else if (strcmp(name, "pbkdf2") == 0) {
        out->kdf = KEYSTORE_PBKDF2;
        result = pbkdf2_params(params, out, err);
    } else {
        return err_set(err, "kdf: only scrypt and pbkdf2 are known");
    }
    return result == 0 ? 0 : err_wrap(err, "kdfparams");
}

static int cipher(const json_t *crypto, struct keystore *out, struct err *err)
{
    static const char *const known[] = {"iv", NULL};
    const json_t *params;
    if (member_is(crypto, "cipher", "aes-128-ctr", err) != 0 ||
        json_get_object(crypto, "cipherparams", &params, err) != 0 ||
        json_only(params, known, err) != 0 ||
        member_exact(params, "iv", out->iv, sizeof(out->iv), err) != 0 ||
        member_exact(crypto, "mac", out->mac, sizeof(out->mac), err) != 0 ||
        member_hex(crypto, "ciphertext", out->ciphertext, sizeof(out->ciphertext),
                   &out->ciphertext_len, err) != 0)
        return -1;
    return out->ciphertext_len > 0 ? 0 : err_set(err, "ciphertext: is empty");
}

static int parsed(const json_t *json, struct keystore *out, struct err *err)
{
    static const char *const known[] = {"cipher",    "cipherparams", "ciphertext", "kdf",
                                        "kdfparams", "mac",          NULL};
    const json_t *crypto;
    int64_t version;
    if (!json_is_object(json))
        return err_set(err, "must be an object");
    if (json_get_int(json, "version", 3, 3, &version, err) != 0 ||
        json_get_object(json, json_object_get(json, "Crypto") != NULL ? "Crypto" : "crypto",
                        &crypto, err) != 0)
        return -1;
    if (json_only(crypto, known, err) != 0 || cipher(crypto, out, err) != 0 ||
        kdf(crypto, out, err) != 0)
        return err_wrap(err, "crypto");
    out->has_address = json_object_get(json, "address") != NULL;
    return out->has_address ? member_exact(json, "address", out->address, 20, err) : 0;
}

int keystore_parse(const char *json, size_t len, struct keystore *out, struct err *err)
{
    AUTO_JSON json_t *root = NULL;
    *out = (struct keystore){.kdf = KEYSTORE_SCRYPT};
    if (len > KEYSTORE_MAX)
        return err_set(err, "the keystore is larger than %d bytes", KEYSTORE_MAX);
    if (json_parse(json, len, &root, err) != 0 || parsed(root, out, err) != 0)
        return err_wrap(err, "the keystore");
    return 0;
}

static int derive(const struct keystore *keystore, const char *password, uint8_t out[DERIVED],
                  struct err *err)
{
    switch (keystore->kdf) {
    case KEYSTORE_SCRYPT:
        return scrypt_derive(password, keystore->salt, keystore->salt_len, keystore->n, keystore->r,
                             keystore->p, out, err);
    case KEYSTORE_PBKDF2:
        break;
    }
    int done =
        PKCS5_PBKDF2_HMAC(password, (int)strlen(password), keystore->salt, (int)keystore->salt_len,
                          (int)keystore->rounds, EVP_sha256(), DERIVED, out);
    return done == 1 ? 0 : err_set(err, "PBKDF2 failed");
}

/* In constant time, so that how much of it is right does not show. */
static bool mac_right(const struct keystore *keystore, const uint8_t derived[DERIVED])
{
    uint8_t text[16 + KEYSTORE_SECRET_MAX], mac[32];
    memcpy(text, derived + 16, 16);
    memcpy(text + 16, keystore->ciphertext, keystore->ciphertext_len);
    keccak256(text, 16 + keystore->ciphertext_len, mac);
    mem_wipe(text, sizeof(text));
    return CRYPTO_memcmp(mac, keystore->mac, sizeof(mac)) == 0;
}

/* Right-aligned, as the number that it is. */
static int decipher(const struct keystore *keystore, const uint8_t key[16], uint8_t secret[32],
                    struct err *err)
{
    size_t len = keystore->ciphertext_len;
    int n = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    memset(secret, 0, 32);
    bool done = ctx != NULL &&
                EVP_DecryptInit_ex(ctx, EVP_aes_128_ctr(), NULL, key, keystore->iv) == 1 &&
                EVP_DecryptUpdate(ctx, secret + 32 - len, &n, keystore->ciphertext, (int)len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return done && n == (int)len ? 0 : err_set(err, "the keystore: AES failed");
}

static int open_secret(const struct keystore *keystore, const uint8_t derived[DERIVED],
                       struct sign_key **out, struct err *err)
{
    uint8_t secret[32], address[20];
    if (!mac_right(keystore, derived))
        return err_set(err, "the keystore: the password is wrong, or the file is damaged");
    int result = decipher(keystore, derived, secret, err);
    if (result == 0)
        result = sign_key_from_secret(secret, out, err);
    mem_wipe(secret, sizeof(secret));
    if (result != 0)
        return -1;
    sign_key_address(*out, address);
    if (!keystore->has_address || memcmp(address, keystore->address, 20) == 0)
        return 0;
    sign_key_free(out);
    return err_set(err, "the keystore: its key does not belong to the address in it");
}

int keystore_decrypt(const struct keystore *keystore, const char *password, struct sign_key **out,
                     struct err *err)
{
    uint8_t derived[DERIVED];
    int result = derive(keystore, password, derived, err);
    if (result == 0)
        result = open_secret(keystore, derived, out, err);
    mem_wipe(derived, sizeof(derived));
    return result;
}
