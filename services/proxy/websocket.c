/* The grammar of frames, one header at a time. */
#include "services/proxy/websocket.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

#define CONTROL_MAX 125
#define BASIC_MAX   125 /* lengths up to this stand in the second byte */
#define LENGTH_16   126
#define LENGTH_64   127

enum { BIT_FIN = 0x80, BIT_RSV1 = 0x40, BITS_RSV = 0x70, BITS_OPCODE = 0x0f, BIT_MASK = 0x80 };

void websocket_init(struct websocket *ws, bool from_client, bool deflate)
{
    memset(ws, 0, sizeof(*ws));
    ws->from_client = from_client;
    ws->deflate = deflate;
}

static unsigned opcode_of(const struct websocket *ws)
{
    return ws->head[0] & BITS_OPCODE;
}

static bool is_control(const struct websocket *ws)
{
    return opcode_of(ws) & 0x8;
}

static const char *check_opcode(const struct websocket *ws)
{
    switch (opcode_of(ws)) {
    case WEBSOCKET_CONTINUATION:
        return ws->in_message ? NULL : "a continuation continues nothing";
    case WEBSOCKET_TEXT:
    case WEBSOCKET_BINARY:
        return ws->in_message ? "a message begins inside another" : NULL;
    case WEBSOCKET_CLOSE:
    case WEBSOCKET_PING:
    case WEBSOCKET_PONG:
        return ws->head[0] & BIT_FIN ? NULL : "a control frame is fragmented";
    }
    return "the opcode is reserved";
}

static const char *check_first(const struct websocket *ws)
{
    unsigned reserved = ws->head[0] & BITS_RSV;
    const char *why = check_opcode(ws);
    if (why)
        return why;
    if (ws->deflate && websocket_begins(ws))
        reserved &= ~(unsigned)BIT_RSV1;
    return reserved ? "a reserved bit is set" : NULL;
}

static const char *check_second(const struct websocket *ws)
{
    unsigned len = ws->head[1] & ~(unsigned)BIT_MASK;
    if (((ws->head[1] & BIT_MASK) != 0) != ws->from_client)
        return ws->from_client ? "a client's frame is not masked" : "a server's frame is masked";
    if (is_control(ws) && len > CONTROL_MAX)
        return "a control frame is too long";
    if (opcode_of(ws) == WEBSOCKET_CLOSE && len == 1)
        return "a close frame holds half a code";
    return NULL;
}

/* How long the header is, as far as its first two bytes say. */
static size_t head_size(const struct websocket *ws)
{
    if (ws->head_len < 2)
        return 2;
    unsigned len = ws->head[1] & ~(unsigned)BIT_MASK;
    size_t size = len == LENGTH_64 ? 10 : len == LENGTH_16 ? 4 : 2;
    return size + (ws->head[1] & BIT_MASK ? 4 : 0);
}

/* -1: not written in its shortest form, or beyond 2^63. */
static int read_length(struct websocket *ws)
{
    unsigned form = ws->head[1] & ~(unsigned)BIT_MASK;
    size_t bytes = form == LENGTH_64 ? 8 : form == LENGTH_16 ? 2 : 0;
    uint64_t len = bytes ? 0 : form;
    for (size_t i = 0; i < bytes; i++)
        len = len << 8 | ws->head[2 + i];
    ws->left = len;
    if (form == LENGTH_16)
        return len > BASIC_MAX ? 0 : -1;
    if (form == LENGTH_64)
        return len > UINT16_MAX && !(len >> 63) ? 0 : -1;
    return 0;
}

static const char *begin_frame(struct websocket *ws)
{
    if (read_length(ws))
        return "a length is not in its shortest form, or too large";
    ws->head_done = true;
    if (!is_control(ws))
        ws->in_message = !(ws->head[0] & BIT_FIN);
    return NULL;
}

static void end_frame(struct websocket *ws)
{
    ws->ended = opcode_of(ws) == WEBSOCKET_CLOSE;
    ws->head_done = false;
}

static enum websocket_step read_head(struct websocket *ws, const char *data, size_t len,
                                     size_t *used, const char **why)
{
    if (ws->head_len >= 2 && ws->head_len == head_size(ws))
        ws->head_len = 0; /* of the frame before */
    *why = NULL;
    for (*used = 0; *used < len;) {
        ws->head[ws->head_len++] = (uint8_t)data[(*used)++];
        if (ws->head_len == 1)
            *why = check_first(ws);
        else if (ws->head_len == 2)
            *why = check_second(ws);
        if (!*why && ws->head_len >= 2 && ws->head_len == head_size(ws)) {
            *why = begin_frame(ws);
            if (!*why && ws->left == 0)
                end_frame(ws);
            return *why ? WEBSOCKET_ERROR : WEBSOCKET_HEAD;
        }
        if (*why)
            return WEBSOCKET_ERROR;
    }
    return WEBSOCKET_MORE;
}

enum websocket_step websocket_step(struct websocket *ws, const char *data, size_t len, size_t *used,
                                   const char **why)
{
    if (ws->ended) {
        *used = len;
        return WEBSOCKET_PAST;
    }
    if (!ws->head_done)
        return read_head(ws, data, len, used, why);
    *used = ws->left < len ? (size_t)ws->left : len;
    ws->left -= *used;
    if (ws->left == 0)
        end_frame(ws);
    return WEBSOCKET_PAYLOAD;
}

bool websocket_begins(const struct websocket *ws)
{
    return opcode_of(ws) == WEBSOCKET_TEXT || opcode_of(ws) == WEBSOCKET_BINARY;
}

bool websocket_boundary(const struct websocket *ws)
{
    return !ws->head_done;
}

size_t websocket_close(char *out, unsigned code, const char *reason, bool masked, uint32_t mask)
{
    size_t len = strlen(reason), at = 0;
    char payload[CONTROL_MAX];
    if (len > CONTROL_MAX - 2)
        len = CONTROL_MAX - 2;
    payload[0] = (char)(code >> 8);
    payload[1] = (char)(code & 0xff);
    memcpy(payload + 2, reason, len);
    len += 2;
    out[at++] = (char)(BIT_FIN | WEBSOCKET_CLOSE);
    out[at++] = (char)(len | (masked ? BIT_MASK : 0));
    if (masked) {
        memcpy(out + at, &mask, 4);
        for (size_t i = 0; i < len; i++)
            payload[i] ^= out[at + (i & 3)];
        at += 4;
    }
    memcpy(out + at, payload, len);
    return at + len;
}

bool websocket_key_valid(const char *key, size_t len)
{
    unsigned char raw[WEBSOCKET_KEY_LEN / 4 * 3];
    unsigned char text[WEBSOCKET_KEY_LEN + 1];
    if (len != WEBSOCKET_KEY_LEN || memcmp(key + WEBSOCKET_KEY_LEN - 2, "==", 2) != 0 ||
        memchr(key, '=', WEBSOCKET_KEY_LEN - 2))
        return false;
    if (EVP_DecodeBlock(raw, (const unsigned char *)key, WEBSOCKET_KEY_LEN) != sizeof(raw))
        return false;
    EVP_EncodeBlock(text, raw, 16);
    return memcmp(text, key, WEBSOCKET_KEY_LEN) == 0;
}

void websocket_accept(const char *key, char *out)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[WEBSOCKET_KEY_LEN + sizeof(guid) - 1];
    unsigned char digest[SHA_DIGEST_LENGTH], encoded[WEBSOCKET_ACCEPT_LEN + 1];
    memcpy(text, key, WEBSOCKET_KEY_LEN);
    memcpy(text + WEBSOCKET_KEY_LEN, guid, sizeof(guid) - 1);
    SHA1((const unsigned char *)text, sizeof(text), digest);
    EVP_EncodeBlock(encoded, digest, sizeof(digest));
    memcpy(out, encoded, WEBSOCKET_ACCEPT_LEN);
}
