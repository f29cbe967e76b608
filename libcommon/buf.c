/* Owns the bytes of a text while it is built piece by piece. A bound refuses a piece as a whole and
 * everything after it, so that what is there is always a prefix of what was meant. */
#include "libcommon/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Room for len more bytes and the NUL. */
static bool reserve(struct buf *buf, size_t len)
{
    size_t need;

    if (buf->overflow)
        return false;
    if (__builtin_add_overflow(buf->len, len, &need) || need >= SIZE_MAX / 2 ||
        (buf->max > 0 && need > buf->max)) {
        buf->overflow = true;
        return false;
    }
    if (need + 1 > buf->cap) {
        size_t cap = buf->cap < 64 ? 64 : buf->cap * 2;
        if (cap < need + 1)
            cap = need + 1;
        buf->data = mem_resize(buf->data, cap, 1);
        buf->cap = cap;
    }
    return true;
}

void buf_add(struct buf *buf, const void *data, size_t len)
{
    if (!reserve(buf, len))
        return;
    if (len > 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void buf_puts(struct buf *buf, const char *text)
{
    buf_add(buf, text, strlen(text));
}

void buf_putc(struct buf *buf, char c)
{
    buf_add(buf, &c, 1);
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
    char small[256];
    va_list args;
    va_list again;

    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(small, sizeof(small), fmt, args);
    if (len >= 0 && (size_t)len < sizeof(small)) {
        buf_add(buf, small, (size_t)len);
    } else if (len >= 0 && reserve(buf, (size_t)len)) {
        vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, again);
        buf->len += (size_t)len;
    }
    va_end(again);
    va_end(args);
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->overflow = false;
    if (buf->data != NULL)
        buf->data[0] = '\0';
}

char *buf_steal(struct buf *buf)
{
    char *data = buf->data != NULL ? buf->data : mem_strdup("");

    *buf = (struct buf){.max = buf->max};
    return data;
}

void buf_free(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){.max = buf->max};
}
