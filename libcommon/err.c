/* Owns the wording of failures: one fixed buffer in the caller's hands, so that reporting an error
 * can itself never fail. A message that is too long is cut, the context in front of it is kept. */
#include "libcommon/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, const char *fmt, ...)
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

int err_wrap(struct err *err, const char *fmt, ...)
{
    struct err old;
    va_list args;

    if (err == NULL)
        return -1;
    old = *err;
    va_start(args, fmt);
    int len = vsnprintf(err->msg, sizeof(err->msg), fmt, args);
    va_end(args);
    if (len >= 0 && (size_t)len < sizeof(err->msg) - 1)
        snprintf(err->msg + len, sizeof(err->msg) - (size_t)len, ": %s", old.msg);
    return -1;
}
