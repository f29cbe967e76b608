/* payd's verbs on the wire, as tables. */
#include "libcommon/proto/payment.h"

#include "libcommon/eth/hex.h"
#include "libcommon/proto/sub.h"
#include "libcommon/proto/wire.h"

#include <string.h>

static bool is_payment_id(const char *text, size_t len)
{
    return len == PAYMENT_ID_LEN && text[0] == '0' && text[1] == 'x' &&
           strspn(text + 2, "0123456789abcdef") == PAYMENT_ID_LEN - 2;
}

static bool is_refusal(const char *text, size_t len)
{
    return len == strlen(PAYMENT_REFUSED_REVOKED) &&
           memcmp(text, PAYMENT_REFUSED_REVOKED, len) == 0;
}

static bool is_address(const char *text, size_t len)
{
    uint8_t address[20];
    return len == 42 && hex_address(text, address, NULL) == 0;
}

static const struct wire_field hint_fields[] = {
    {"payment_id", .kind = WIRE_TEXT, .offset = offsetof(struct payment_hint, payment_id),
     .min = PAYMENT_ID_LEN, .max = PAYMENT_ID_LEN, .valid = is_payment_id,
     .rule = "0x and 64 lower-case hex digits"},
    {"revision", .kind = WIRE_INT, .offset = offsetof(struct payment_hint, revision), .min = 1,
     .max = INT64_MAX},
    {"subscription", .kind = WIRE_TEXT, .offset = offsetof(struct payment_hint, subscription),
     .min = SUB_ID_LEN, .max = SUB_ID_LEN, .valid = sub_id_valid,
     .rule = "sub_ and 32 lower-case hex digits", .optional = true},
    {"refused", .kind = WIRE_TEXT, .offset = offsetof(struct payment_hint, refused), .min = 1,
     .max = 15, .valid = is_refusal, .rule = "\"revoked\"", .optional = true},
};
WIRE_SHAPE(hint_shape, struct payment_hint, hint_fields);

static const struct wire_field slot_request_fields[] = {
    {"subscriber", .kind = WIRE_ADDRESS,
     .offset = offsetof(struct payment_slot_request, subscriber)},
    {"service_id", .kind = WIRE_WORD, .offset = offsetof(struct payment_slot_request, service_id)},
};
WIRE_SHAPE(slot_request_shape, struct payment_slot_request, slot_request_fields);

#define INT_OF(type, m, lo)                                                                        \
    .kind = WIRE_INT, .offset = offsetof(type, m), .min = (lo), .max = INT64_MAX
#define SLOT(m) .offset = offsetof(struct payment_slot, m)

static const struct wire_field slot_fields[] = {
    {"slot", .kind = WIRE_WORD, SLOT(slot)},
    {"pending", .kind = WIRE_BOOL, SLOT(pending)},
    {"revoked", .kind = WIRE_BOOL, SLOT(revoked)},
    {"head", INT_OF(struct payment_slot, head, 0)},
    {"chain_id", .kind = WIRE_UINT, SLOT(chain_id), .min = 1, .max = INT64_MAX},
    {"contract", .kind = WIRE_ADDRESS, SLOT(contract)},
    {"signer", .kind = WIRE_TEXT, SLOT(signer), .min = 42, .max = 42, .valid = is_address,
     .rule = "an address", .optional = true},
};
WIRE_SHAPE(slot_shape, struct payment_slot, slot_fields);

#define STATUS(m) .offset = offsetof(struct payment_chain_status, m)

static const struct wire_field status_fields[] = {
    {"ok", .kind = WIRE_BOOL, STATUS(ok)},
    {"chain_id", .kind = WIRE_UINT, STATUS(chain_id), .min = 1, .max = INT64_MAX},
    {"contract", .kind = WIRE_ADDRESS, STATUS(contract)},
    {"head", INT_OF(struct payment_chain_status, head, 0)},
    {"confirmed", INT_OF(struct payment_chain_status, confirmed, 0)},
    {"leader", .kind = WIRE_BOOL, STATUS(leader)},
    {"polled_at", INT_OF(struct payment_chain_status, polled_at, 0)},
};
WIRE_SHAPE(status_shape, struct payment_chain_status, status_fields);

char *payment_hint_encode(const struct payment_hint *hint)
{
    return wire_text(&hint_shape, hint);
}

int payment_hint_decode(const char *text, size_t len, struct payment_hint *out, struct err *err)
{
    return wire_parse(&hint_shape, text, len, out, err);
}

char *payment_slot_request_encode(const struct payment_slot_request *request)
{
    return wire_text(&slot_request_shape, request);
}

int payment_slot_request_decode(const char *text, size_t len, struct payment_slot_request *out,
                                struct err *err)
{
    return wire_parse(&slot_request_shape, text, len, out, err);
}

char *payment_slot_encode(const struct payment_slot *slot)
{
    return wire_text(&slot_shape, slot);
}

int payment_slot_decode(const char *text, size_t len, struct payment_slot *out, struct err *err)
{
    return wire_parse_reply(&slot_shape, text, len, out, err);
}

char *payment_chain_status_encode(const struct payment_chain_status *status)
{
    return wire_text(&status_shape, status);
}

int payment_chain_status_decode(const char *text, size_t len, struct payment_chain_status *out,
                                struct err *err)
{
    return wire_parse_reply(&status_shape, text, len, out, err);
}

char *payment_error_encode(const char *code, const char *message)
{
    AUTO_JSON json_t *json = json_pack("{s:{s:s, s:s}}", "error", "code", code, "message", message);
    if (json == NULL) /* a message that is not UTF-8 */
        json = json_pack("{s:{s:s, s:s}}", "error", "code", code, "message", "unprintable");
    return json_text(json);
}
