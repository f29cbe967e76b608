/* Owns the wording of failures: one fixed buffer in the caller's hands, so that reporting an error
 * can itself never fail. A message that is too long is cut, the context in front of it is kept. */
#include "libcommon/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set_text(struct err *err, const char *fmt, ...)
{
    char text[sizeof(((struct err *)0)->msg)]; /* the arguments may point into err itself */
    va_list args;

    if (err == NULL)
        return -1;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    memcpy(err->msg, text, sizeof(text));
    return -1;
}

int err_wrap_text(struct err *err, const char *fmt, ...)
{
    struct err old;
    va_list args;

    if (err == NULL)
        return -1;
    old = *err;
    va_start(args, fmt);
    int len = vsnprintf(err->msg, sizeof(err->msg), fmt, args);
    va_end(args);
    size_t used = len < 0 ? 0 : (size_t)len;
    if (used + 3 < sizeof(err->msg)) {
        size_t room = sizeof(err->msg) - used - 3;
        size_t take = strnlen(old.msg, room);
        memcpy(err->msg + used, ": ", 2);
        memcpy(err->msg + used + 2, old.msg, take);
        err->msg[used + 2 + take] = '\0';
    }
    return -1;
}
