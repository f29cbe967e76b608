/* From a list of names and values to the text of a head. nghttp2 has refused most misuse before
 * (its HTTP messaging is on); what could become a second line is checked here once more. */
#include "services/proxy/h2_block.h"

#include "services/proxy/http1_head.h"

#include "libcommon/mem.h"

#include <string.h>

#define SLACK      256 /* our own lines of a head */
#define BOMB_TIMES 8
#define KEY_LEN    24 /* base64 of 16 bytes */
#define SPARES_MAX 16

struct h2_block *h2_block_new(const struct http1_limits *limits)
{
    size_t cap = limits->head_bytes;
    struct h2_block *block = mem_alloc(sizeof(*block) + 2 * cap);
    block->limits = *limits;
    block->text = (char *)(block + 1);
    block->cookie = block->text + cap;
    block->next_spare = NULL;
    h2_block_begin(block, false);
    return block;
}

struct h2_block *h2_block_take(struct h2_block_spares *spares, const struct http1_limits *limits)
{
    struct h2_block *block = spares->first;
    if (block) {
        spares->first = block->next_spare;
        spares->count--;
        if (block->limits.head_bytes == limits->head_bytes)
            return block;
        free(block);
    }
    return h2_block_new(limits);
}

void h2_block_give(struct h2_block_spares *spares, struct h2_block **block)
{
    if (*block && spares->count < SPARES_MAX) {
        (*block)->next_spare = spares->first;
        spares->first = *block;
        spares->count++;
    } else {
        free(*block);
    }
    *block = NULL;
}

void h2_block_spares_free(struct h2_block_spares *spares)
{
    for (struct h2_block *next, *at = spares->first; at; at = next) {
        next = at->next_spare;
        free(at);
    }
    *spares = (struct h2_block_spares){NULL, 0};
}

void h2_block_begin(struct h2_block *block, bool trailers)
{
    static const h2o_iovec_t none;
    block->trailers = trailers;
    block->overflow = false;
    block->count = block->bytes = block->text_len = block->fields_at = block->cookie_len = 0;
    block->method = block->scheme = block->authority = none;
    block->path = block->protocol = block->host = none;
}

static char *append(struct h2_block *block, const char *data, size_t len)
{
    char *at = block->text + block->text_len;
    if (len)
        memcpy(at, data, len);
    block->text_len += len;
    return at;
}

static bool is(const char *name, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(name, text, len) == 0;
}

static h2o_iovec_t *pseudo(struct h2_block *block, const char *name, size_t len)
{
    static const struct {
        const char *name;
        size_t at;
    } known[] = {{":method", offsetof(struct h2_block, method)},
                 {":scheme", offsetof(struct h2_block, scheme)},
                 {":authority", offsetof(struct h2_block, authority)},
                 {":path", offsetof(struct h2_block, path)},
                 {":protocol", offsetof(struct h2_block, protocol)}};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (is(name, len, known[i].name))
            return (h2o_iovec_t *)(void *)((char *)block + known[i].at);
    return NULL;
}

static enum h2_block_result add_pseudo(struct h2_block *block, const char *name, size_t name_len,
                                       const char *value, size_t value_len)
{
    h2o_iovec_t *slot = pseudo(block, name, name_len);
    if (!slot || slot->base || block->trailers || block->fields_at != block->text_len)
        return H2_BLOCK_MALFORMED;
    *slot = h2o_iovec_init(append(block, value, value_len), value_len);
    block->fields_at = block->text_len;
    return H2_BLOCK_OK;
}

static void add_crumb(struct h2_block *block, const char *value, size_t len)
{
    if (block->cookie_len) {
        memcpy(block->cookie + block->cookie_len, "; ", 2);
        block->cookie_len += 2;
    }
    memcpy(block->cookie + block->cookie_len, value, len);
    block->cookie_len += len;
}

static enum h2_block_result add_field(struct h2_block *block, const char *name, size_t name_len,
                                      const char *value, size_t value_len)
{
    for (size_t i = 0; i < name_len; i++)
        if (!http1_token_char[(unsigned char)name[i]] || (name[i] >= 'A' && name[i] <= 'Z'))
            return H2_BLOCK_MALFORMED;
    if (!block->trailers && is(name, name_len, "cookie")) {
        add_crumb(block, value, value_len);
        return H2_BLOCK_OK;
    }
    /* The codec makes the key of a WebSocket. */
    if (block->protocol.base && is(name, name_len, "sec-websocket-key"))
        return H2_BLOCK_OK;
    append(block, name, name_len);
    append(block, ": ", 2);
    char *at = append(block, value, value_len);
    append(block, "\r\n", 2);
    if (block->trailers || !is(name, name_len, "host"))
        return H2_BLOCK_OK;
    if (block->host.base)
        return H2_BLOCK_MALFORMED;
    /* It stands in the head's first line of fields, by itself. */
    block->host = h2o_iovec_init(at, value_len);
    return H2_BLOCK_OK;
}

enum h2_block_result h2_block_add(struct h2_block *block, const char *name, size_t name_len,
                                  const char *value, size_t value_len)
{
    size_t cost = name_len + value_len + 4;
    block->count++;
    block->bytes += cost;
    if (block->bytes > block->limits.head_bytes || block->count > block->limits.fields) {
        block->overflow = true;
        bool bomb = block->bytes > BOMB_TIMES * block->limits.head_bytes ||
                    block->count > BOMB_TIMES * block->limits.fields;
        return bomb ? H2_BLOCK_BOMB : H2_BLOCK_OK;
    }
    if (block->overflow)
        return H2_BLOCK_OK;
    if (name_len == 0 || http1_find_control(value, value + value_len) != value + value_len)
        return H2_BLOCK_MALFORMED;
    if (name[0] == ':')
        return add_pseudo(block, name, name_len, value, value_len);
    return add_field(block, name, name_len, value, value_len);
}

static const char *check(const struct h2_block *block)
{
    if (!h2o_memis(block->scheme.base, block->scheme.len, "https", 5) &&
        !h2o_memis(block->scheme.base, block->scheme.len, "http", 4))
        return ":scheme is neither http nor https";
    if (block->path.len == 0 ||
        (block->path.base[0] != '/' && !h2o_memis(block->path.base, block->path.len, "*", 1)))
        return ":path is not absolute";
    if (block->host.base && block->authority.base &&
        (block->host.len != block->authority.len ||
         strncasecmp(block->host.base, block->authority.base, block->host.len) != 0))
        return ":authority and Host disagree";
    if (!block->host.base && !block->authority.base)
        return ":authority is missing";
    return NULL;
}

static enum http1_result refuse(struct http1_error *error, enum problem problem, const char *detail)
{
    *error = (struct http1_error){problem, detail};
    return HTTP1_ERROR;
}

static char *put(char *at, const void *data, size_t len)
{
    if (len)
        memcpy(at, data, len);
    return at + len;
}

static char *puts_to(char *at, const char *text)
{
    return put(at, text, strlen(text));
}

static char *websocket(char *at, const uint64_t key[2])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char bytes[18] = {0};
    memcpy(bytes, key, 16);
    at = puts_to(at, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ");
    for (size_t i = 0; i < 18; i += 3) {
        unsigned word = (unsigned)bytes[i] << 16 | (unsigned)bytes[i + 1] << 8 | bytes[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            *at++ = digits[word >> shift & 63];
    }
    memcpy(at - 2, "==", 2);
    return puts_to(at, "\r\n");
}

/* Everything but the client's own Host line, which is what :authority says. */
static char *fields(const struct h2_block *block, char *at)
{
    const char *start = block->text + block->fields_at, *end = block->text + block->text_len;
    if (!block->host.base)
        return put(at, start, (size_t)(end - start));
    const char *line = block->host.base - strlen("host: ");
    const char *next = block->host.base + block->host.len + 2;
    at = put(at, start, (size_t)(line - start));
    return put(at, next, (size_t)(end - next));
}

static size_t write_head(const struct h2_block *block, const uint64_t key[2], char *text)
{
    const h2o_iovec_t *host = block->authority.base ? &block->authority : &block->host;
    h2o_iovec_t method = block->protocol.base ? h2o_iovec_init("GET", 3) : block->method;
    char *at = put(text, method.base, method.len);
    *at++ = ' ';
    at = put(at, block->path.base, block->path.len);
    at = puts_to(at, " HTTP/1.1\r\nHost: ");
    at = put(at, host->base, host->len);
    at = puts_to(at, "\r\n");
    if (block->protocol.base)
        at = websocket(at, key);
    at = fields(block, at);
    if (block->cookie_len) {
        at = puts_to(at, "cookie: ");
        at = put(at, block->cookie, block->cookie_len);
        at = puts_to(at, "\r\n");
    }
    at = puts_to(at, "\r\n");
    return (size_t)(at - text);
}

enum http1_result h2_block_head(const struct h2_block *block, h2o_mem_pool_t *pool,
                                const uint64_t key[2], struct http1_field *scratch,
                                struct http1_head *head, struct http1_error *error)
{
    if (block->overflow)
        return refuse(error, PROBLEM_HEADERS_TOO_LARGE, NULL);
    bool connect = h2o_memis(block->method.base, block->method.len, "CONNECT", 7);
    if (connect && !block->protocol.base)
        return refuse(error, PROBLEM_METHOD_NOT_ALLOWED, "CONNECT is not offered");
    if (block->protocol.base && !connect)
        return refuse(error, PROBLEM_BAD_REQUEST, ":protocol belongs to CONNECT");
    if (block->protocol.base &&
        !h2o_memis(block->protocol.base, block->protocol.len, "websocket", 9))
        return refuse(error, PROBLEM_NOT_IMPLEMENTED, "only the protocol websocket is offered");
    const char *why = check(block);
    if (why)
        return refuse(error, PROBLEM_BAD_REQUEST, why);
    char *text = h2o_mem_alloc_pool(pool, block->text_len + block->cookie_len + KEY_LEN + SLACK);
    size_t len = write_head(block, key, text);
    *head = (struct http1_head){.fields = scratch};
    enum http1_result result = http1_parse_request(text, len, &block->limits, head, error);
    if (result != HTTP1_DONE)
        return result == HTTP1_ERROR ? result : refuse(error, PROBLEM_BAD_REQUEST, NULL);
    head->fields = h2o_mem_alloc_pool(pool, head->count * sizeof(*head->fields));
    memcpy(head->fields, scratch, head->count * sizeof(*head->fields));
    return HTTP1_DONE;
}
