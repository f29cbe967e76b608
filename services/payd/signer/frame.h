/* What payd and its signer say to each other: packets of two fixed sizes over a SOCK_SEQPACKET
 * pair. A request is the fields of a transaction, never a hash; an answer is a signature, never a
 * key. Whatever is not exactly one of these forms is malformed, and who receives it hangs up. */
#ifndef PAYD_SIGNER_FRAME_H
#define PAYD_SIGNER_FRAME_H

#include "services/payd/signer/policy.h"

#define FRAME_REQUEST (8 + 5 * 8 + 20 + 32 + 4 + POLICY_DATA_MAX)
#define FRAME_TEXT    240
#define FRAME_REPLY   (8 + 4 + FRAME_TEXT)

struct frame_request {
    uint32_t id;
    struct eth_tx tx; /* its data points to `data` once read */
    uint8_t data[POLICY_DATA_MAX];
};

enum frame_kind {
    FRAME_READY,   /* once, after the start: address */
    FRAME_FAILED,  /* instead of it: text */
    FRAME_SIGNED,  /* signature */
    FRAME_REFUSED, /* text */
    FRAME_SPENT,   /* text: not now, since the budget has no room for it */
    FRAME_KINDS
};

struct frame_reply {
    enum frame_kind kind;
    uint32_t id; /* the request's; 0 before the first */
    uint8_t address[20];
    uint8_t signature[65]; /* r ++ s ++ v */
    char text[FRAME_TEXT];
};

/* -1: data longer than any call that may be signed. */
int frame_write_request(uint32_t id, const struct eth_tx *tx, uint8_t out[FRAME_REQUEST]) MUST_USE;
int frame_read_request(const uint8_t *in, size_t len, struct frame_request *out) MUST_USE;
void frame_write_reply(const struct frame_reply *reply, uint8_t out[FRAME_REPLY]);
/* The text of what is read is printable ASCII. */
int frame_read_reply(const uint8_t *in, size_t len, struct frame_reply *out) MUST_USE;

#endif
