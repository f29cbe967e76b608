/* The quote that is signed, and the identifiers made of it: see "Contract" in docs/interfaces.md.
 * Spoken by quoted, payd and subd. */
#ifndef LIBCOMMON_PROTO_QUOTE_H
#define LIBCOMMON_PROTO_QUOTE_H

#include "libcommon/eth/eip712.h"

#define QUOTE_EPOCH           1767225600 /* 2026-01-01T00:00:00Z: minute 0 of `valid until` */
#define QUOTE_SUBSCRIPTION_ID 37         /* "sub_" + 32 hex + NUL */

/* The unpacked slot word. */
struct quote_terms {
    uint32_t start;  /* Unix seconds */
    uint32_t expiry; /* Unix seconds */
    uint64_t paid;   /* smallest units that the grant holds */
    uint16_t plan;
    uint16_t rate;      /* requests a second, 0: no limit */
    uint16_t bandwidth; /* KiB a second, 0: no limit */
    uint32_t quota;     /* requests a period, 0: no limit */
    uint16_t seq;
    uint8_t token;          /* index, from 1 */
    uint32_t valid_minutes; /* since QUOTE_EPOCH; 24 bits */
};

struct word quote_terms_pack(const struct quote_terms *terms); /* asserts that valid_minutes fits */
void quote_terms_unpack(const struct word *word, struct quote_terms *out);
/* The last Unix second at which the quote can be paid. */
int64_t quote_valid_until(const struct quote_terms *terms);

struct quote_domain {
    uint64_t chain_id;
    uint8_t contract[20];
};

struct quote {
    uint8_t subscriber[20];
    struct word service_id;
    uint8_t token[20];
    struct word terms;
};

/* The EIP-712 digest: the quote's id and the payment's. */
struct word quote_digest(const struct quote_domain *domain, const struct quote *quote);
struct word quote_service_id(const char *service);
void quote_subscription_id(const struct quote_domain *domain, const uint8_t subscriber[20],
                           const struct word *service_id, char out[QUOTE_SUBSCRIPTION_ID]);

/* What a grant still holds at t, rounded down: the contract's rule. */
uint64_t quote_unused(const struct quote_terms *slot, uint32_t t);

#define QUOTE_TYPE                    "Quote(address subscriber,bytes32 serviceId,address token,uint256 terms)"
#define QUOTE_PAY                     "pay(bytes32,address,uint256,bytes32,bytes32)"
#define QUOTE_EVENT_PAID              "Paid(address,bytes32,address,uint256,uint256)"
#define QUOTE_EVENT_REVOKED           "Revoked(address,bytes32,uint16,bool)"
#define QUOTE_EVENT_REFUNDED          "Refunded(address,bytes32,address,uint16,uint256)"
#define QUOTE_EVENT_TRANSFER_REFUNDED "TransferRefunded(bytes32,address,address,uint256)"
#define QUOTE_EVENT_TOPPED_UP         "ToppedUp(address,address,uint256)"
#define QUOTE_EVENT_SIGNER_CHANGED    "SignerChanged(address,address,uint64)"
#define QUOTE_REFUND                  "refund(address,bytes32,address,uint16,uint256)"
#define QUOTE_REFUND_TRANSFER         "refundTransfer(bytes32,address,address,uint256)"
#define QUOTE_SET_REVOKED             "setRevoked(address,bytes32,bool)"
#define QUOTE_WITHDRAW                "withdraw(address)"
#define QUOTE_WITHDRAW_FEES           "withdrawFees(address)"

#endif
