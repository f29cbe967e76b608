/* The keys of access tokens: the first one signs, all are published and accepted, so that keys can
 * be changed without refusing a token that is still good. */
#ifndef SUBD_KEYRING_H
#define SUBD_KEYRING_H

#include "libcommon/config.h"
#include "libcommon/jwt.h"

struct keyring;

/* `keys`: const char *, PEM text or the path of a PEM file. Errors name the key by its place. */
int keyring_new(const struct config_list *keys, struct keyring **out, struct err *err) MUST_USE;
void keyring_free(struct keyring **keyring);

/* The JWK Set, as text; lives as long as the keyring. */
const char *keyring_jwks(const struct keyring *keyring);
int keyring_sign(const struct keyring *keyring, const json_t *claims, char **out,
                 struct err *err) MUST_USE;
/* Verifies the signature by the key that the token names; *claims is the caller's. */
int keyring_verify(const struct keyring *keyring, const char *token, json_t **claims,
                   struct err *err) MUST_USE;

#endif
