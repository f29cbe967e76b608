/* The operator's requests on the wire, as tables. */
#include "libcommon/proto/treasury.h"

#include "libcommon/proto/wire.h"

#include <string.h>

bool treasury_id_valid(const char *text, size_t len)
{
    return len == PAYMENT_ID_LEN && text[0] == '0' && text[1] == 'x' &&
           strspn(text + 2, "0123456789abcdef") == PAYMENT_ID_LEN - 2;
}

bool treasury_key_valid(const char *text, size_t len)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:";
    return len >= 1 && len <= TREASURY_KEY && strspn(text, allowed) == len;
}

#define ID_FIELD(member)                                                                           \
    {                                                                                              \
        member, .kind = WIRE_TEXT, .offset = offsetof(struct treasury_refund, id),                 \
                .min = PAYMENT_ID_LEN, .max = PAYMENT_ID_LEN, .valid = treasury_id_valid,          \
                .rule = "0x and 64 lower-case hex digits"                                          \
    }
#define CAUSE_FIELDS(type)                                                                         \
    {"reason", .kind = WIRE_TEXT, .offset = offsetof(type, cause.reason), .min = 1,                \
     .max = TREASURY_REASON},                                                                      \
    {                                                                                              \
        "actor", .kind = WIRE_TEXT, .offset = offsetof(type, cause.actor), .min = 1,               \
                 .max = TREASURY_ACTOR                                                             \
    }

static const struct wire_field refund_fields[] = {
    ID_FIELD("payment_id"),
    CAUSE_FIELDS(struct treasury_refund),
};
WIRE_SHAPE(refund_shape, struct treasury_refund, refund_fields);

static const struct wire_field transfer_fields[] = {
    ID_FIELD("transfer_id"),
    CAUSE_FIELDS(struct treasury_refund),
};
WIRE_SHAPE(transfer_shape, struct treasury_refund, transfer_fields);

static const struct wire_field withdraw_fields[] = {
    {"token", .kind = WIRE_ADDRESS, .offset = offsetof(struct treasury_withdraw, token)},
    {"fees", .kind = WIRE_BOOL, .offset = offsetof(struct treasury_withdraw, fees)},
    {"key", .kind = WIRE_TEXT, .offset = offsetof(struct treasury_withdraw, key), .min = 1,
     .max = TREASURY_KEY, .valid = treasury_key_valid,
     .rule = "letters, digits, '-', '_', '.' and ':'"},
    CAUSE_FIELDS(struct treasury_withdraw),
};
WIRE_SHAPE(withdraw_shape, struct treasury_withdraw, withdraw_fields);

static const struct wire_field revoke_fields[] = {
    {"subscriber", .kind = WIRE_ADDRESS, .offset = offsetof(struct treasury_revoke, subscriber)},
    {"service_id", .kind = WIRE_WORD, .offset = offsetof(struct treasury_revoke, service_id)},
    {"revoked", .kind = WIRE_BOOL, .offset = offsetof(struct treasury_revoke, revoked)},
    CAUSE_FIELDS(struct treasury_revoke),
};
WIRE_SHAPE(revoke_shape, struct treasury_revoke, revoke_fields);

char *treasury_refund_encode(const struct treasury_refund *request)
{
    return wire_text(&refund_shape, request);
}

int treasury_refund_decode(const char *text, size_t len, struct treasury_refund *out,
                           struct err *err)
{
    return wire_parse(&refund_shape, text, len, out, err);
}

char *treasury_transfer_encode(const struct treasury_refund *request)
{
    return wire_text(&transfer_shape, request);
}

int treasury_transfer_decode(const char *text, size_t len, struct treasury_refund *out,
                             struct err *err)
{
    return wire_parse(&transfer_shape, text, len, out, err);
}

char *treasury_withdraw_encode(const struct treasury_withdraw *request)
{
    return wire_text(&withdraw_shape, request);
}

int treasury_withdraw_decode(const char *text, size_t len, struct treasury_withdraw *out,
                             struct err *err)
{
    return wire_parse(&withdraw_shape, text, len, out, err);
}

int treasury_revoke_decode(const char *text, size_t len, struct treasury_revoke *out,
                           struct err *err)
{
    return wire_parse(&revoke_shape, text, len, out, err);
}
