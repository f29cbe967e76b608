/* Follows one direction of a WebSocket (RFC 6455 section 5) without touching its bytes: knows where
 * frames begin and end, which of them begin a message, and what no peer may send. A header is held
 * back until it is whole, so that what was passed on always ends at a frame's end or inside the
 * payload of a sound frame: a close frame of our own can stand there. Pure, no allocation. */
#ifndef PROXY_WEBSOCKET_H
#define PROXY_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEBSOCKET_HEADER_MAX 14
#define WEBSOCKET_CLOSE_MAX  (6 + 125)
#define WEBSOCKET_KEY_LEN    24 /* 16 bytes in base64 */
#define WEBSOCKET_ACCEPT_LEN 28

enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0x0,
    WEBSOCKET_TEXT = 0x1,
    WEBSOCKET_BINARY = 0x2,
    WEBSOCKET_CLOSE = 0x8,
    WEBSOCKET_PING = 0x9,
    WEBSOCKET_PONG = 0xa,
};

struct websocket {
    bool from_client; /* its frames are masked, a server's are not */
    bool deflate;     /* permessage-deflate is in use: RSV1 may open a message (RFC 7692) */
    bool in_message;  /* a fragment came, the last one not yet */
    bool ended;       /* a close frame came: nothing that follows counts */
    uint8_t head[WEBSOCKET_HEADER_MAX];
    size_t head_len; /* of the header that is being read, or was read last */
    bool head_done;  /* `head` is the present frame's; false between frames and inside a header */
    uint64_t left;   /* of the present frame's payload */
};

enum websocket_step {
    WEBSOCKET_ERROR = -1, /* *why says what is wrong: close 1002 */
    WEBSOCKET_MORE,       /* the header is not whole: nothing of `used` may be passed on yet */
    WEBSOCKET_HEAD,       /* the header is whole: head[0, head_len), the last `used` just came */
    WEBSOCKET_PAYLOAD,    /* `used` bytes may be passed on */
    WEBSOCKET_PAST,       /* behind a close frame: `used` bytes are nobody's */
};

void websocket_init(struct websocket *ws, bool from_client, bool deflate);
/* The next step in data[0, len), len > 0. *why is static. */
enum websocket_step websocket_step(struct websocket *ws, const char *data, size_t len, size_t *used,
                                   const char **why);
/* After HEAD: this frame begins a message (text or binary). */
bool websocket_begins(const struct websocket *ws);
/* Between two frames, as far as was passed on. */
bool websocket_boundary(const struct websocket *ws);

/* A close frame; the reason is cut at 123 bytes. Masked with `mask` where it goes to a server.
 * Returns its length, at most WEBSOCKET_CLOSE_MAX. */
size_t websocket_close(char *out, unsigned code, const char *reason, bool masked, uint32_t mask);

/* Sec-WebSocket-Key: 16 bytes in base64. */
bool websocket_key_valid(const char *key, size_t len);
/* Sec-WebSocket-Accept for a valid key; out holds WEBSOCKET_ACCEPT_LEN, no NUL. */
void websocket_accept(const char *key, char *out);

#endif
