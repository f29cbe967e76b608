/* Receipts: what was paid, for what, and when it was final, signed twice with one secp256k1 key: as
 * EIP-712 `Receipt`, which the contract verifies, and as a JWS with ES256K (RFC 7515, RFC 8812),
 * which any JOSE library does. Signatures are deterministic (RFC 6979), so every instance gives the
 * same bytes. docs/receipts.md */
#ifndef PAYD_RECEIPT_H
#define PAYD_RECEIPT_H

#include "libcommon/eth/sign.h"
#include "libcommon/json.h"
#include "libcommon/proto/quote.h"

#define RECEIPT_TYPE                                                                               \
    "Receipt(bytes32 paymentId,address subscriber,bytes32 serviceId,address token,uint256 "        \
    "terms,uint256 amount,bytes32 txHash,uint256 blockNumber,uint256 confirmedAt)"

struct receipt {
    struct quote quote; /* its digest is the payment's id */
    struct word amount; /* smallest units */
    struct word tx_hash;
    uint64_t block;
    uint64_t confirmed_at; /* Unix seconds */
};

/* The key of receipts.key_file. */
int receipt_key(const char *path, struct sign_key **out, struct err *err) MUST_USE;

struct word receipt_digest(const struct quote_domain *domain, const struct receipt *receipt);
/* {domain, receipt, signer, signature, jws}; the caller's. */
int receipt_json(const struct quote_domain *domain, const struct receipt *receipt,
                 const struct sign_key *key, json_t **out, struct err *err) MUST_USE;

#endif
