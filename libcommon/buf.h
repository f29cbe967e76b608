/* A growing byte buffer with an upper bound, for what is built piece by piece. */
#ifndef LIBCOMMON_BUF_H
#define LIBCOMMON_BUF_H

#include "libcommon/mem.h"

#include <stdbool.h>
#include <stdint.h>

struct buf {
    char *data; /* always NUL-terminated once anything was added; owned */
    size_t len;
    size_t cap;
    size_t max;    /* 0: no bound */
    bool overflow; /* something was refused because of max; nothing was added since */
};

void buf_add(struct buf *buf, const void *data, size_t len);
void buf_puts(struct buf *buf, const char *text);
void buf_putc(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_clear(struct buf *buf);
/* Hands the bytes over (never NULL); the buffer is empty afterwards. */
char *buf_steal(struct buf *buf);
void buf_free(struct buf *buf);

#define AUTO_BUF CLEANUP(buf_free)

#endif
