/* The keys that quotes may be signed with: the one in use and, around a change of the contract's
 * signer, the next. Immutable; a reload makes a new one. */
#ifndef QUOTED_KEYRING_H
#define QUOTED_KEYRING_H

#include "libcommon/eth/sign.h"
#include "services/quoted/settings.h"

#define KEYRING_KEYS 2

struct keyring_key {
    struct sign_key *key;
    char address[43]; /* EIP-55 */
};

struct keyring {
    struct keyring_key keys[KEYRING_KEYS]; /* that of key_file, then that of next_key_file */
    size_t count;
};

int keyring_load(const struct settings_signer *signer, struct keyring **out,
                 struct err *err) MUST_USE;
void keyring_free(struct keyring **ring);
/* Keeps its keys out of swap and core dumps; warns where that cannot be. */
void keyring_guard(const struct keyring *ring);
/* The key of the contract's signer; "" (nobody knows it yet): the first. NULL: neither is it. */
const struct keyring_key *keyring_find(const struct keyring *ring, const char *signer);

#endif
