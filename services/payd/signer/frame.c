/* The packets, byte for byte: magic, then big-endian numbers and fields in their order, padded with
 * zeros, which are checked. */
#include "services/payd/signer/frame.h"

#include <string.h>

#define REQUEST_MAGIC 0x4f537131u /* "OSq1" */
#define REPLY_MAGIC   0x4f537231u /* "OSr1" */

/* Writes and reads number after number at *at. */
static void put(uint8_t **at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        (*at)[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
    *at += bytes;
}

static uint64_t get(const uint8_t **at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | (*at)[i];
    *at += bytes;
    return value;
}

static void put_bytes(uint8_t **at, const void *bytes, size_t len)
{
    memcpy(*at, bytes, len);
    *at += len;
}

static void get_bytes(const uint8_t **at, void *out, size_t len)
{
    memcpy(out, *at, len);
    *at += len;
}

static bool zeros(const uint8_t *from, const uint8_t *end)
{
    while (from < end && *from == 0)
        from++;
    return from == end;
}

/* What stands in an error may have come from a file's name. */
static void put_text(uint8_t *at, const char *text)
{
    for (size_t i = 0; i < FRAME_TEXT - 1 && text[i] != '\0'; i++)
        at[i] = text[i] < ' ' || text[i] > '~' ? '?' : (uint8_t)text[i];
}

int frame_write_request(uint32_t id, const struct eth_tx *tx, uint8_t out[FRAME_REQUEST])
{
    uint8_t *at = out;
    if (tx->data_len > POLICY_DATA_MAX)
        return -1;
    memset(out, 0, FRAME_REQUEST);
    put(&at, REQUEST_MAGIC, 4);
    put(&at, id, 4);
    put(&at, tx->chain_id, 8);
    put(&at, tx->nonce, 8);
    put(&at, tx->priority_fee, 8);
    put(&at, tx->max_fee, 8);
    put(&at, tx->gas, 8);
    put_bytes(&at, tx->to, sizeof(tx->to));
    put_bytes(&at, tx->value.b, sizeof(tx->value.b));
    put(&at, tx->data_len, 4);
    if (tx->data_len > 0)
        put_bytes(&at, tx->data, tx->data_len);
    return 0;
}

int frame_read_request(const uint8_t *in, size_t len, struct frame_request *out)
{
    const uint8_t *at = in;
    if (len != FRAME_REQUEST || get(&at, 4) != REQUEST_MAGIC)
        return -1;
    *out = (struct frame_request){.id = (uint32_t)get(&at, 4)};
    struct eth_tx *tx = &out->tx;
    tx->chain_id = get(&at, 8);
    tx->nonce = get(&at, 8);
    tx->priority_fee = get(&at, 8);
    tx->max_fee = get(&at, 8);
    tx->gas = get(&at, 8);
    get_bytes(&at, tx->to, sizeof(tx->to));
    get_bytes(&at, tx->value.b, sizeof(tx->value.b));
    tx->data_len = get(&at, 4);
    if (tx->data_len > POLICY_DATA_MAX || !zeros(at + tx->data_len, in + FRAME_REQUEST))
        return -1;
    memcpy(out->data, at, tx->data_len);
    tx->data = out->data;
    return 0;
}

void frame_write_reply(const struct frame_reply *reply, uint8_t out[FRAME_REPLY])
{
    uint8_t *at = out;
    memset(out, 0, FRAME_REPLY);
    put(&at, REPLY_MAGIC, 4);
    put(&at, reply->id, 4);
    put(&at, reply->kind, 4);
    switch (reply->kind) {
    case FRAME_READY:
        put_bytes(&at, reply->address, sizeof(reply->address));
        break;
    case FRAME_SIGNED:
        put_bytes(&at, reply->signature, sizeof(reply->signature));
        break;
    case FRAME_FAILED:
    case FRAME_REFUSED:
    case FRAME_SPENT:
        put_text(at, reply->text);
        break;
    case FRAME_KINDS:
        break;
    }
}

static int read_text(const uint8_t *at, char out[FRAME_TEXT])
{
    size_t len = 0;
    while (len < FRAME_TEXT - 1 && at[len] >= ' ' && at[len] <= '~')
        len++;
    memcpy(out, at, len);
    return zeros(at + len, at + FRAME_TEXT) ? 0 : -1;
}

int frame_read_reply(const uint8_t *in, size_t len, struct frame_reply *out)
{
    const uint8_t *at = in;
    if (len != FRAME_REPLY || get(&at, 4) != REPLY_MAGIC)
        return -1;
    uint32_t id = (uint32_t)get(&at, 4);
    uint64_t kind = get(&at, 4);
    if (kind >= FRAME_KINDS)
        return -1;
    *out = (struct frame_reply){.kind = (enum frame_kind)kind, .id = id};
    switch (out->kind) {
    case FRAME_READY:
        get_bytes(&at, out->address, sizeof(out->address));
        break;
    case FRAME_SIGNED:
        get_bytes(&at, out->signature, sizeof(out->signature));
        break;
    case FRAME_FAILED:
    case FRAME_REFUSED:
    case FRAME_SPENT:
        return read_text(at, out->text);
    case FRAME_KINDS:
        return -1;
    }
    return zeros(at, in + FRAME_REPLY) ? 0 : -1;
}
