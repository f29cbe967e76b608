/* Sign-In with Ethereum messages (EIP-4361): written for the wallet to sign, read back strictly.
 * Nothing here asks a clock, a chain or a store. */
#ifndef SUBD_SIWE_H
#define SUBD_SIWE_H

#include "libcommon/err.h"

#include <stddef.h>
#include <stdint.h>

#define SIWE_MAX       4096 /* bytes of a message */
#define SIWE_RESOURCES 8
#define SIWE_TEXT      512

struct siwe {
    char scheme[32]; /* "" where the message names none */
    char domain[SIWE_TEXT];
    char address[43]; /* EIP-55 case */
    uint8_t wallet[20];
    char statement[SIWE_TEXT]; /* "" where there is none */
    char uri[SIWE_TEXT];
    int64_t chain_id;
    char nonce[97];
    int64_t issued_at;
    int64_t expires_at; /* 0: not said */
    int64_t not_before; /* 0: not said */
    char request_id[SIWE_TEXT];
    char resources[SIWE_RESOURCES][SIWE_TEXT];
    size_t resource_count;
};

/* Refuses what is not exactly of the form, naming the field; version must be 1, the address must be
 * in EIP-55 case. */
int siwe_parse(const char *text, size_t len, struct siwe *out, struct err *err) MUST_USE;

/* The message; the caller frees. Fields that are "" or 0 are left out where they may be. */
char *siwe_format(const struct siwe *message);

#endif
