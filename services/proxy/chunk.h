/* Decoder of the chunked coding (RFC 9112 section 7.1), strict: sizes of 1 to 15 hex digits, CRLF
 * everywhere, extensions and trailers bounded. It works in place and keeps its place between
 * reads. */
#ifndef PROXY_CHUNK_H
#define PROXY_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#define CHUNK_MAX_EXTENSION 1024        /* bytes of extensions in one chunk's line */
#define CHUNK_MAX_OVERHEAD  (16 * 1024) /* bytes of extensions in a whole body */
#define CHUNK_MAX_TRAILERS  (8 * 1024)

enum chunk_result { CHUNK_ERROR = -1, CHUNK_MORE, CHUNK_END };

struct chunk_decoder {
    int state;
    unsigned digits;
    unsigned extension; /* bytes of this chunk's extension */
    unsigned overhead;  /* bytes of all extensions */
    uint64_t left;      /* of this chunk */
    char *trailers;     /* lines with their CRLF, without the empty one; owned */
    size_t trailers_len;
};

void chunk_init(struct chunk_decoder *decoder);
void chunk_free(struct chunk_decoder *decoder);
/* Decodes buf[0, len): *data and *data_len are the payload, moved together inside buf; *consumed is
 * less than len only at CHUNK_END. */
enum chunk_result chunk_decode(struct chunk_decoder *decoder, char *buf, size_t len,
                               size_t *consumed, char **data, size_t *data_len);

#endif
