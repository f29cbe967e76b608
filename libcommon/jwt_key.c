/* P-256 keys: from PEM and JWK and back, thumbprints, and ES256 over bytes. OpenSSL speaks DER
 * signatures, JOSE raw ones; the change between them happens here and nowhere else. */
#include "libcommon/jwt_key.h"

#include "libcommon/json.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#define DER_MAX 80 /* of a signature: two integers of 33 bytes and their heads */

struct jwt_key {
    EVP_PKEY *pkey;
    bool is_private;
    unsigned char point[65]; /* 4, x, y */
    char kid[JWT_KID_LEN + 1];
    char *header;
};

static void sig_cleanup(ECDSA_SIG **sig)
{
    ECDSA_SIG_free(*sig);
}

static void ctx_cleanup(EVP_MD_CTX **ctx)
{
    EVP_MD_CTX_free(*ctx);
}

static void bio_cleanup(BIO **bio)
{
    BIO_free_all(*bio);
}

static void pkey_cleanup(EVP_PKEY **pkey)
{
    EVP_PKEY_free(*pkey);
}

static void bn_cleanup(BIGNUM **bn)
{
    BN_free(*bn);
}

/* RFC 7638: the required members, in order of their names, without space. */
static void thumbprint(const unsigned char point[65], char kid[JWT_KID_LEN + 1])
{
    unsigned char hash[32];
    AUTO_FREE char *x = jwt_b64url(point + 1, 32);
    AUTO_FREE char *y = jwt_b64url(point + 33, 32);
    AUTO_FREE char *text =
        mem_printf("{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", x, y);
    if (EVP_Digest(text, strlen(text), hash, NULL, EVP_sha256(), NULL) != 1)
        abort();
    AUTO_FREE char *encoded = jwt_b64url(hash, sizeof(hash));
    memcpy(kid, encoded, JWT_KID_LEN + 1);
}

static bool read_coordinate(EVP_PKEY *pkey, const char *name, unsigned char out[32])
{
    CLEANUP(bn_cleanup) BIGNUM *n = NULL;
    return EVP_PKEY_get_bn_param(pkey, name, &n) == 1 && BN_bn2binpad(n, out, 32) == 32;
}

static bool is_p256(EVP_PKEY *pkey)
{
    char group[32];
    return EVP_PKEY_is_a(pkey, "EC") == 1 &&
           EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

/* Takes the reference over only where it succeeds. */
static int make_key(EVP_PKEY *pkey, bool is_private, struct jwt_key **out, struct err *err)
{
    unsigned char point[65] = {4};
    if (!is_p256(pkey) || !read_coordinate(pkey, OSSL_PKEY_PARAM_EC_PUB_X, point + 1) ||
        !read_coordinate(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, point + 33))
        return err_set(err, "the key must be an EC key on the curve P-256");
    struct jwt_key *key = mem_zalloc(sizeof(*key));
    key->pkey = pkey;
    key->is_private = is_private;
    memcpy(key->point, point, sizeof(point));
    thumbprint(point, key->kid);
    AUTO_FREE char *header =
        mem_printf("{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", key->kid);
    key->header = jwt_b64url(header, strlen(header));
    *out = key;
    return 0;
}

/* A passphrase is never asked for on a terminal. */
static int no_passphrase(char *buf, int size, int writing, void *ctx)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)ctx;
    return -1;
}

int jwt_key_from_pem(const char *pem, size_t len, struct jwt_key **out, struct err *err)
{
    if (len > 16384)
        return err_set(err, "the key file is larger than 16 KiB");
    CLEANUP(bio_cleanup) BIO *bio = BIO_new_mem_buf(pem, (int)len);
    CLEANUP(pkey_cleanup)
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    if (pkey == NULL)
        return err_set(err, "not a private key in PEM without a passphrase");
    if (make_key(pkey, true, out, err) != 0)
        return -1;
    pkey = NULL;
    return 0;
}

static int jwk_coordinate(const json_t *jwk, const char *name, unsigned char out[32],
                          struct err *err)
{
    const char *text;
    AUTO_FREE unsigned char *bytes = NULL;
    size_t len = 0;
    if (json_get_str(jwk, name, 43, &text, err) != 0)
        return -1;
    if (jwt_b64url_decode(text, strlen(text), &bytes, &len) != 0 || len != 32)
        return err_set(err, "%s: must be 32 bytes in base64url", name);
    memcpy(out, bytes, 32);
    return 0;
}

static int jwk_constant(const json_t *jwk, const char *name, const char *value, struct err *err)
{
    const char *text;
    if (json_get_str(jwk, name, 16, &text, err) != 0)
        return -1;
    if (strcmp(text, value) != 0)
        return err_set(err, "%s: must be %s", name, value);
    return 0;
}

static EVP_PKEY *public_key(const unsigned char point[65])
{
    EVP_PKEY *pkey = NULL;
    char group[] = "prime256v1";
    unsigned char copy[65];
    memcpy(copy, point, sizeof(copy));
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy, sizeof(copy)),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

int jwt_key_from_jwk(const json_t *jwk, struct jwt_key **out, struct err *err)
{
    static const char *const members[] = {"kty", "crv", "x", "y", "alg", "use", "kid", NULL};
    unsigned char point[65] = {4};
    const char *kid;
    if (!json_is_object(jwk))
        return err_set(err, "a JWK must be an object");
    if (json_only(jwk, members, err) != 0 || jwk_constant(jwk, "kty", "EC", err) != 0 ||
        jwk_constant(jwk, "crv", "P-256", err) != 0 ||
        jwk_constant(jwk, "alg", "ES256", err) != 0 || jwk_constant(jwk, "use", "sig", err) != 0 ||
        jwk_coordinate(jwk, "x", point + 1, err) != 0 ||
        jwk_coordinate(jwk, "y", point + 33, err) != 0 ||
        json_get_str(jwk, "kid", JWT_KID_LEN, &kid, err) != 0)
        return -1;
    CLEANUP(pkey_cleanup) EVP_PKEY *pkey = public_key(point);
    if (pkey == NULL)
        return err_set(err, "x, y: are not a point of P-256");
    char right[JWT_KID_LEN + 1];
    thumbprint(point, right);
    if (strcmp(kid, right) != 0)
        return err_set(err, "kid: must be the key's thumbprint");
    if (make_key(pkey, false, out, err) != 0)
        return -1;
    pkey = NULL;
    return 0;
}

int jwt_key_generate(char **pem, struct err *err)
{
    CLEANUP(pkey_cleanup) EVP_PKEY *pkey = EVP_EC_gen("P-256");
    CLEANUP(bio_cleanup) BIO *bio = BIO_new(BIO_s_secmem());
    char *text;
    if (pkey == NULL || bio == NULL ||
        PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) != 1)
        return err_set(err, "OpenSSL could not make a key");
    long len = BIO_get_mem_data(bio, &text);
    *pem = mem_strndup(text, (size_t)len);
    return 0;
}

const char *jwt_key_id(const struct jwt_key *key)
{
    return key->kid;
}

const char *jwt_key_header(const struct jwt_key *key)
{
    return key->header;
}

json_t *jwt_key_to_jwk(const struct jwt_key *key)
{
    AUTO_FREE char *x = jwt_b64url(key->point + 1, 32);
    AUTO_FREE char *y = jwt_b64url(key->point + 33, 32);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "kty", "EC", "crv", "P-256", "x", x,
                     "y", y, "kid", key->kid, "use", "sig", "alg", "ES256");
}

void jwt_key_free(struct jwt_key **keyp)
{
    struct jwt_key *key = *keyp;
    if (key == NULL)
        return;
    *keyp = NULL;
    EVP_PKEY_free(key->pkey);
    free(key->header);
    free(key);
}

static int raw_from_der(const unsigned char *der, size_t len, unsigned char raw[64])
{
    CLEANUP(sig_cleanup) ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
    if (sig == NULL || BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32) != 32 ||
        BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32) != 32)
        return -1;
    return 0;
}

/* The length, 0 where it cannot be. */
static size_t der_from_raw(const unsigned char raw[64], unsigned char der[DER_MAX])
{
    CLEANUP(sig_cleanup) ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, 32, NULL);
    BIGNUM *s = BN_bin2bn(raw + 32, 32, NULL);
    if (sig == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(sig, r, s) != 1)
        abort();
    int len = i2d_ECDSA_SIG(sig, &der);
    return len > 0 ? (size_t)len : 0;
}

int jwt_key_sign(const struct jwt_key *key, const void *data, size_t len,
                 unsigned char signature[64], struct err *err)
{
    unsigned char der[DER_MAX];
    size_t der_len = sizeof(der);
    if (!key->is_private)
        return err_set(err, "a public key cannot sign");
    CLEANUP(ctx_cleanup) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key->pkey) != 1 ||
        EVP_DigestSign(ctx, der, &der_len, data, len) != 1 ||
        raw_from_der(der, der_len, signature) != 0)
        return err_set(err, "OpenSSL could not sign");
    return 0;
}

bool jwt_key_check(const struct jwt_key *key, const void *data, size_t len,
                   const unsigned char signature[64])
{
    unsigned char der[DER_MAX];
    size_t der_len = der_from_raw(signature, der);
    CLEANUP(ctx_cleanup) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    return EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key->pkey) == 1 &&
           EVP_DigestVerify(ctx, der, der_len, data, len) == 1;
}
