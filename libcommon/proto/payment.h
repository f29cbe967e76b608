/* What payd says and hears: docs/interfaces.md, "NATS". */
#ifndef LIBCOMMON_PROTO_PAYMENT_H
#define LIBCOMMON_PROTO_PAYMENT_H

#include "libcommon/eth/abi.h"
#include "libcommon/json.h"

#define PAYMENT_SUBJECT_CONFIRMED "octroi.v1.payment.confirmed"
#define PAYMENT_SUBJECT_REVERSED  "octroi.v1.payment.reversed"
#define PAYMENT_SUBJECT_ACTIVATED "octroi.v1.payment.activated"
#define PAYMENT_STREAM            "OCTROI_PAYMENTS"
#define PAYMENT_SUBJECT_SLOT      "octroi.v1.chain.slot"
#define PAYMENT_SUBJECT_STATUS    "octroi.v1.chain.status"
#define PAYMENT_QUEUE             "payd"

#define PAYMENT_REFUSED_REVOKED "revoked"

#define PAYMENT_ID_LEN 66 /* 0x + 64 hex */

struct payment_hint {
    char payment_id[PAYMENT_ID_LEN + 1];
    int64_t revision;
    char subscription[40]; /* in `activated` only, else "" */
    char refused[16];      /* in `activated` only: "revoked" or "" */
};

char *payment_hint_encode(const struct payment_hint *hint);
int payment_hint_decode(const char *text, size_t len, struct payment_hint *out,
                        struct err *err) MUST_USE;

struct payment_slot_request {
    uint8_t subscriber[20];
    struct word service_id;
};

struct payment_slot {
    struct word slot;
    bool pending, revoked;
    int64_t head;
    uint64_t chain_id;
    uint8_t contract[20];
    char signer[43]; /* the contract's quote signer at `head`, EIP-55; "" before it is known */
};

char *payment_slot_request_encode(const struct payment_slot_request *request);
int payment_slot_request_decode(const char *text, size_t len, struct payment_slot_request *out,
                                struct err *err) MUST_USE;
char *payment_slot_encode(const struct payment_slot *slot);
int payment_slot_decode(const char *text, size_t len, struct payment_slot *out,
                        struct err *err) MUST_USE;

struct payment_chain_status {
    bool ok, leader;
    uint64_t chain_id;
    uint8_t contract[20];
    int64_t head, confirmed;
    int64_t polled_at; /* Unix seconds of the last successful reading; 0: none yet */
};

char *payment_chain_status_encode(const struct payment_chain_status *status);
int payment_chain_status_decode(const char *text, size_t len, struct payment_chain_status *out,
                                struct err *err) MUST_USE;

/* {"error": {"code", "message"}}: the caller frees. A reply that is one decodes as a failure whose
 * message is "<code>: <message>". */
char *payment_error_encode(const char *code, const char *message);

#endif
