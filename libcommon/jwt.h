/* ES256 access tokens (RFC 7515, 7518, 7638): keys, signing and strict verification. The only
 * algorithm is ES256; a header with another `alg`, `crit`, `jku`, `jwk` or `x5u` is refused. A
 * decoder checks the bytes and the signature; the claims are judged by who asks. */
#ifndef LIBCOMMON_JWT_H
#define LIBCOMMON_JWT_H

#include "libcommon/err.h"
#include "libcommon/mem.h"

#include <jansson.h>

#define JWT_MAX_LEN 2048
#define JWT_KID_LEN 43 /* base64url of SHA-256 */

struct jwt_key; /* one P-256 key, private or public; immutable, may be shared between threads */

int jwt_key_from_pem(const char *pem, size_t len, struct jwt_key **out,
                     struct err *err) MUST_USE; /* private */
int jwt_key_from_jwk(const json_t *jwk, struct jwt_key **out,
                     struct err *err) MUST_USE; /* public; kid must be its thumbprint */
int jwt_key_generate(char **pem, struct err *err) MUST_USE;
const char *jwt_key_id(const struct jwt_key *key);
json_t *jwt_key_to_jwk(const struct jwt_key *key); /* public part; caller's */
void jwt_key_free(struct jwt_key **key);

/* header {alg, typ: "at+jwt", kid}; *out is the caller's to free. */
int jwt_sign(const struct jwt_key *key, const json_t *claims, char **out, struct err *err) MUST_USE;

/* The kid of a well-formed ES256 token, unverified, to choose the key by: copied to kid. -1: not
 * such a token. */
int jwt_peek(const char *token, size_t len, char kid[JWT_KID_LEN + 1], struct err *err) MUST_USE;
/* Verifies with this key; *claims is the caller's. */
int jwt_verify(const struct jwt_key *key, const char *token, size_t len, json_t **claims,
               struct err *err) MUST_USE;

/* base64url without padding, strict (RFC 4648 section 5; non-zero trailing bits refused). *out is
 * NUL-terminated, the caller's. */
char *jwt_b64url(const void *data, size_t len);
int jwt_b64url_decode(const char *text, size_t len, unsigned char **out, size_t *out_len) MUST_USE;

#endif
