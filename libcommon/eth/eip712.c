/* The digests that wallets sign. A type string is hashed as it stands: the caller writes it in the
 * canonical form of EIP-712, and docs/interfaces.md fixes it. */
#include "libcommon/eth/eip712.h"

#include "libcommon/eth/keccak.h"

#include <string.h>

#define DOMAIN_TYPE                                                                                \
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"

struct word eip712_struct_hash(const char *type, const struct word *words, size_t count)
{
    AUTO_BUF struct buf data = {0};
    struct word hash = abi_topic(type);
    buf_add(&data, hash.b, 32);
    for (size_t i = 0; i < count; i++)
        buf_add(&data, words[i].b, 32);
    keccak256(data.data, data.len, hash.b);
    return hash;
}

struct word eip712_separator(const struct eip712_domain *domain)
{
    const struct word words[] = {
        abi_topic(domain->name),
        abi_topic(domain->version),
        word_from_u64(domain->chain_id),
        word_from_address(domain->contract),
    };
    return eip712_struct_hash(DOMAIN_TYPE, words, ARRAY_LEN(words));
}

struct word eip712_digest(const struct word *separator, const struct word *struct_hash)
{
    uint8_t data[66] = {0x19, 0x01};
    memcpy(data + 2, separator->b, 32);
    memcpy(data + 34, struct_hash->b, 32);
    struct word digest;
    keccak256(data, sizeof(data), digest.b);
    return digest;
}

struct word eip191_digest(const void *message, size_t len)
{
    AUTO_BUF struct buf data = {0};
    buf_printf(&data,
               "\x19"
               "Ethereum Signed Message:\n%zu",
               len);
    buf_add(&data, message, len);
    struct word digest;
    keccak256(data.data, data.len, digest.b);
    return digest;
}
