/* Typed structured data (EIP-712) and signed messages (EIP-191): digests only. */
#ifndef LIBCOMMON_ETH_EIP712_H
#define LIBCOMMON_ETH_EIP712_H

#include "libcommon/eth/abi.h"

struct eip712_domain {
    const char *name;
    const char *version;
    uint64_t chain_id;
    uint8_t contract[20];
};

struct word eip712_separator(const struct eip712_domain *domain);
/* keccak256(keccak256(type) ++ words): members already encoded as words. */
struct word eip712_struct_hash(const char *type, const struct word *words, size_t count);
/* keccak256(0x1901 ++ separator ++ struct hash). */
struct word eip712_digest(const struct word *separator, const struct word *struct_hash);

/* EIP-191 version 0x45, "personal_sign". */
struct word eip191_digest(const void *message, size_t len);

#endif
