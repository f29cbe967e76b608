/* subd's public keys: an immutable set, shared by the threads that hold a reference. */
#ifndef PROXY_BILLING_KEYS_H
#define PROXY_BILLING_KEYS_H

#include "libcommon/jwt.h"

#include <stdatomic.h>
#include <stdbool.h>

#define BILLING_KEYS_MAX 32

struct billing_keys {
    _Atomic unsigned refs;
    size_t count;
    struct jwt_key *keys[BILLING_KEYS_MAX];
};

/* From a JWK Set; keys of other kinds are left out. One reference. */
int billing_keys_new(const json_t *set, struct billing_keys **out, struct err *err) MUST_USE;
struct billing_keys *billing_keys_ref(struct billing_keys *keys);
void billing_keys_unref(struct billing_keys *keys);
/* NULL where it is not there; keys may be NULL. */
const struct jwt_key *billing_keys_find(const struct billing_keys *keys, const char *kid);
/* A key of `old` is not in `new`: what it signed is not valid any more. */
bool billing_keys_withdrawn(const struct billing_keys *old, const struct billing_keys *new);

#endif
