/* Framing of bodies towards either side. */
#include "services/proxy/frame.h"

#include <string.h>

#define FLAT_MAX 2048

void frame_add(struct frame *frame, const void *data, size_t len)
{
    union {
        const void *in;
        void *out;
    } base = {.in = data};

    if (len)
        frame->iov[frame->count++] = (struct iovec){base.out, len};
}

void frame_piece(struct frame *frame, const struct piece *piece, bool chunked)
{
    static const char digits[] = "0123456789abcdef";
    if (!chunked) {
        frame_add(frame, piece->data, piece->len);
        return;
    }
    if (piece->len) {
        size_t at = sizeof(frame->size) - 2;
        memcpy(frame->size + at, "\r\n", 2);
        for (size_t n = piece->len; n; n >>= 4)
            frame->size[--at] = digits[n & 15];
        frame_add(frame, frame->size + at, sizeof(frame->size) - at);
        frame_add(frame, piece->data, piece->len);
        frame_add(frame, piece->end ? "\r\n0\r\n" : "\r\n", piece->end ? 5 : 2);
    } else if (piece->end) {
        frame_add(frame, "0\r\n", 3);
    }
    if (piece->end) {
        frame_add(frame, piece->trailers.base, piece->trailers.len);
        frame_add(frame, "\r\n", 2);
    }
}

void frame_flatten(struct frame *frame, struct head_writer *writer)
{
    size_t total = 0;
    for (int i = 1; i < frame->count; i++)
        total += frame->iov[i].iov_len;
    if (total > FLAT_MAX || total > (size_t)(writer->end - writer->at))
        return;
    for (int i = 1; i < frame->count; i++)
        head_add(writer, frame->iov[i].iov_base, frame->iov[i].iov_len);
    frame->iov[0].iov_len = (size_t)(writer->at - writer->start);
    frame->count = 1;
}
