/* The chunked coding as a state machine over one byte at a time for the framing, and over whole
 * runs for the payload. */
#include "services/proxy/chunk.h"

#include "libcommon/mem.h"

#include <stdbool.h>
#include <string.h>

enum state {
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER,
    TRAILER_LF,
    END_LF,
    FAILED,
    DONE,
};

void chunk_init(struct chunk_decoder *decoder)
{
    memset(decoder, 0, sizeof(*decoder));
}

void chunk_free(struct chunk_decoder *decoder)
{
    free(decoder->trailers);
    decoder->trailers = NULL;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

static enum state on_size(struct chunk_decoder *decoder, char c)
{
    int value = hex_value(c);
    if (value >= 0) {
        if (decoder->digits++ >= 15)
            return FAILED;
        decoder->left = decoder->left << 4 | (unsigned)value;
        return SIZE;
    }
    if (decoder->digits == 0)
        return FAILED;
    if (c == '\r')
        return SIZE_LF;
    return c == ';' ? EXTENSION : FAILED;
}

static enum state on_extension(struct chunk_decoder *decoder, char c)
{
    if (c == '\r')
        return SIZE_LF;
    if (((unsigned char)c < 0x20 && c != '\t') || c == 0x7f)
        return FAILED;
    if (++decoder->extension > CHUNK_MAX_EXTENSION || ++decoder->overhead > CHUNK_MAX_OVERHEAD)
        return FAILED;
    return EXTENSION;
}

static bool trailer_add(struct chunk_decoder *decoder, char c)
{
    if (!decoder->trailers)
        decoder->trailers = mem_alloc(CHUNK_MAX_TRAILERS);
    if (decoder->trailers_len == CHUNK_MAX_TRAILERS)
        return false;
    decoder->trailers[decoder->trailers_len++] = c;
    return true;
}

static enum state on_trailer(struct chunk_decoder *decoder, char c)
{
    if (c == '\n' || !trailer_add(decoder, c))
        return FAILED;
    return c == '\r' ? TRAILER_LF : TRAILER;
}

static enum state on_size_end(struct chunk_decoder *decoder, char c)
{
    if (c != '\n')
        return FAILED;
    decoder->digits = 0;
    decoder->extension = 0;
    return decoder->left ? DATA : TRAILER_START;
}

/* One byte of framing. */
static enum state step(struct chunk_decoder *decoder, char c)
{
    switch ((enum state)decoder->state) {
    case SIZE:
        return on_size(decoder, c);
    case EXTENSION:
        return on_extension(decoder, c);
    case SIZE_LF:
        return on_size_end(decoder, c);
    case DATA_CR:
        return c == '\r' ? DATA_LF : FAILED;
    case DATA_LF:
        return c == '\n' ? SIZE : FAILED;
    case TRAILER_START:
        if (c == '\r')
            return END_LF;
        return on_trailer(decoder, c);
    case TRAILER:
        return on_trailer(decoder, c);
    case TRAILER_LF:
        return c == '\n' && trailer_add(decoder, c) ? TRAILER_START : FAILED;
    case END_LF:
        return c == '\n' ? DONE : FAILED;
    case DATA:
    case FAILED:
    case DONE:
        break;
    }
    return FAILED;
}

/* The payload bytes at buf[at]: moved behind those that are already there. */
static size_t take(struct chunk_decoder *decoder, char *buf, size_t at, size_t len, char **data,
                   size_t *data_len)
{
    size_t n = len - at < decoder->left ? len - at : (size_t)decoder->left;
    if (*data_len == 0)
        *data = buf + at;
    else
        memmove(*data + *data_len, buf + at, n);
    *data_len += n;
    decoder->left -= n;
    if (decoder->left == 0)
        decoder->state = DATA_CR;
    return n;
}

enum chunk_result chunk_decode(struct chunk_decoder *decoder, char *buf, size_t len,
                               size_t *consumed, char **data, size_t *data_len)
{
    size_t at = 0;
    *data = buf;
    *data_len = 0;
    while (at < len && decoder->state != DONE) {
        if (decoder->state == DATA) {
            at += take(decoder, buf, at, len, data, data_len);
            continue;
        }
        decoder->state = (int)step(decoder, buf[at++]);
        if (decoder->state == FAILED)
            return CHUNK_ERROR;
    }
    *consumed = at;
    return decoder->state == DONE ? CHUNK_END : CHUNK_MORE;
}
