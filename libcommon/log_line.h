/* A line that is being formatted in bounded memory, without allocation and without the C library's
 * formatted printing: for log lines, of which a busy proxy writes one a request. `room` is kept
 * smaller than the memory by what has to follow the last field. What does not fit is left out;
 * strings are cut with "..." and stay whole JSON (RFC 8259). */
#ifndef LIBCOMMON_LOG_LINE_H
#define LIBCOMMON_LOG_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_TS 24 /* "2026-11-21T10:00:00.000Z" */

struct log_line {
    char *data;
    size_t len;
    size_t room;
};

bool log_line_fits(const struct log_line *line, size_t len);
/* Cut where it does not fit. */
void log_line_put(struct log_line *line, const char *text, size_t len);
void log_line_puts(struct log_line *line, const char *text);
void log_line_int(struct log_line *line, int64_t number);
void log_line_uint(struct log_line *line, uint64_t number);
/* Nanoseconds as milliseconds with three decimals. */
void log_line_ms(struct log_line *line, int64_t ns);
/* With its quotes; invalid UTF-8 becomes U+FFFD, control characters are escaped. */
void log_line_string(struct log_line *line, const char *text, size_t len);
/* LOG_LINE_TS bytes, no NUL. */
void log_line_ts(char *out, int64_t unix_ms);

#endif
