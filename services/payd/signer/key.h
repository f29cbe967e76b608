/* The operator's key out of its files, in the signer's process before it locks itself up. */
#ifndef PAYD_SIGNER_KEY_H
#define PAYD_SIGNER_KEY_H

#include "libcommon/eth/sign.h"

/* Paths; NULL and empty: none. Exactly one of keystore and mnemonic_file. */
struct key_files {
    const char *keystore;
    const char *mnemonic_file;
    const char *password_file; /* needed with a keystore; a mnemonic's passphrase otherwise */
    const char *path;          /* with a mnemonic */
};

int key_load(const struct key_files *files, struct sign_key **out, struct err *err) MUST_USE;

#endif
