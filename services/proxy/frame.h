/* What leaves in one writev: a head and a piece of a body, chunked where the message is. */
#ifndef PROXY_FRAME_H
#define PROXY_FRAME_H

#include "services/proxy/exchange.h"

#include <sys/uio.h>

struct frame {
    struct iovec iov[6];
    int count;
    char size[24];
};

void frame_add(struct frame *frame, const void *data, size_t len);
/* The piece's bytes must stay until the frame is written. */
void frame_piece(struct frame *frame, const struct piece *piece, bool chunked);

/* The frame begins with the head in `writer`: where the rest is short it is copied behind it, which
 * is cheaper than a vector. */
void frame_flatten(struct frame *frame, struct head_writer *writer);

#endif
