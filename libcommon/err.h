/* What went wrong, in words for a person: what, where, what to do. Functions that can fail return 0
 * or -1 and fill the caller's struct err; it owns no memory and may be reused. Never put a secret
 * into one. */
#ifndef LIBCOMMON_ERR_H
#define LIBCOMMON_ERR_H

#define MUST_USE          __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

struct err {
    char msg[512];
};

/* Replaces the message (err may be NULL). Always returns -1, for `return err_set(err, ...)`. */
#define err_set(...) err_failed(err_set_text(__VA_ARGS__))

/* Puts "<context>: " before the message. Always returns -1. */
#define err_wrap(...) err_failed(err_wrap_text(__VA_ARGS__))

int err_set_text(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
int err_wrap_text(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Inline, so that compilers and analyzers see that the path failed. */
static inline int err_failed(int result)
{
    (void)result;
    return -1;
}

#endif
