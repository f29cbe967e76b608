/* What an operator asks of payd's wallet: docs/interfaces.md, "NATS". */
#ifndef LIBCOMMON_PROTO_TREASURY_H
#define LIBCOMMON_PROTO_TREASURY_H

#include "libcommon/proto/payment.h"

#define TREASURY_SUBJECT_REFUND          "octroi.v1.admin.payd.refund"
#define TREASURY_SUBJECT_REFUND_TRANSFER "octroi.v1.admin.payd.refund-transfer"
#define TREASURY_SUBJECT_WITHDRAW        "octroi.v1.admin.payd.withdraw"
#define TREASURY_SUBJECT_SET_REVOKED     "octroi.v1.admin.payd.set-revoked"

#define TREASURY_ACTOR  64
#define TREASURY_REASON 256
#define TREASURY_KEY    64

/* Who asks, and why: part of every request. */
struct treasury_cause {
    char actor[TREASURY_ACTOR + 1];
    char reason[TREASURY_REASON + 1];
};

/* Of a payment or of a transfer that paid nothing: the member is payment_id or transfer_id. */
struct treasury_refund {
    char id[PAYMENT_ID_LEN + 1];
    struct treasury_cause cause;
};

struct treasury_withdraw {
    uint8_t token[20];
    bool fees;                  /* the fees instead of the payee's part */
    char key[TREASURY_KEY + 1]; /* the same again asks for nothing more */
    struct treasury_cause cause;
};

struct treasury_revoke {
    uint8_t subscriber[20];
    struct word service_id;
    bool revoked;
    struct treasury_cause cause;
};

char *treasury_refund_encode(const struct treasury_refund *request);
int treasury_refund_decode(const char *text, size_t len, struct treasury_refund *out,
                           struct err *err) MUST_USE;
char *treasury_transfer_encode(const struct treasury_refund *request);
int treasury_transfer_decode(const char *text, size_t len, struct treasury_refund *out,
                             struct err *err) MUST_USE;
char *treasury_withdraw_encode(const struct treasury_withdraw *request);
int treasury_withdraw_decode(const char *text, size_t len, struct treasury_withdraw *out,
                             struct err *err) MUST_USE;
int treasury_revoke_decode(const char *text, size_t len, struct treasury_revoke *out,
                           struct err *err) MUST_USE;

/* 0x and 64 lower-case digits. */
bool treasury_id_valid(const char *text, size_t len);
/* 1 to TREASURY_KEY letters, digits, '-', '_', '.' and ':'. */
bool treasury_key_valid(const char *text, size_t len);

#endif
