/* Owns how values become the text of a log line. Most text needs no escape: it is looked at eight
 * bytes at a time, and copied in one piece. */
#include "libcommon/log_line.h"

#include "libcommon/clock.h"
#include "libcommon/utf8.h"

#include <string.h>

#define RESERVE 4 /* `..."` */

bool log_line_fits(const struct log_line *line, size_t len)
{
    return len <= line->room - line->len;
}

void log_line_put(struct log_line *line, const char *text, size_t len)
{
    if (!log_line_fits(line, len))
        len = line->room - line->len;
    memcpy(line->data + line->len, text, len);
    line->len += len;
}

void log_line_puts(struct log_line *line, const char *text)
{
    log_line_put(line, text, strlen(text));
}

void log_line_uint(struct log_line *line, uint64_t number)
{
    char text[20];
    size_t at = sizeof(text);

    do {
        text[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    log_line_put(line, text + at, sizeof(text) - at);
}

void log_line_int(struct log_line *line, int64_t number)
{
    if (number < 0)
        log_line_put(line, "-", 1);
    log_line_uint(line, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

void log_line_ms(struct log_line *line, int64_t ns)
{
    uint64_t us = ns > 0 ? (uint64_t)ns / 1000 : 0;
    unsigned rest = (unsigned)(us % 1000);
    const char decimals[] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10),
                             (char)('0' + rest % 10)};

    log_line_uint(line, us / 1000);
    log_line_put(line, decimals, sizeof(decimals));
}

static bool plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Whether one of eight bytes is a quote, a backslash, DEL, a control character or not ASCII. */
static bool special(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101U, high = 0x8080808080808080U;
    uint64_t quote = word ^ (ones * '"'), slash = word ^ (ones * '\\'), del = word ^ (ones * 0x7f);

    return ((word | (word - ones * 0x20) | (quote - ones) | (slash - ones) | (del - ones)) &
            high) != 0;
}

static size_t plain_run(const char *text, size_t len)
{
    size_t at = 0;

    for (; at + 8 <= len; at += 8) {
        uint64_t word;
        memcpy(&word, text + at, sizeof(word));
        if (special(word))
            break;
    }
    while (at < len && plain((unsigned char)text[at]))
        at++;
    return at;
}

/* One character or escape; returns the bytes of the input that it took. */
static size_t escape(const char *at, size_t left, char out[8], size_t *len)
{
    static const char digits[] = "0123456789abcdef";
    size_t take = utf8_len(at, left);
    unsigned char c = (unsigned char)*at;

    if (take == 0) {
        memcpy(out, "\\ufffd", *len = 6);
        return 1;
    }
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        *len = 2;
    } else if (c < 0x20 || c == 0x7f) {
        memcpy(out, "\\u00", 4);
        out[4] = digits[c >> 4];
        out[5] = digits[c & 15];
        *len = 6;
    } else {
        memcpy(out, at, *len = take);
    }
    return take;
}

/* False: it did not fit any more. */
static bool put_run(struct log_line *line, const char *text, size_t len)
{
    size_t space = line->room - line->len > RESERVE ? line->room - line->len - RESERVE : 0;

    log_line_put(line, text, len < space ? len : space);
    return len <= space;
}

void log_line_string(struct log_line *line, const char *text, size_t len)
{
    size_t at = 0;
    bool fits = true;

    log_line_put(line, "\"", 1);
    while (at < len && fits) {
        char piece[8];
        size_t size = plain_run(text + at, len - at);
        if (size > 0) {
            fits = put_run(line, text + at, size);
            at += size;
            continue;
        }
        at += escape(text + at, len - at, piece, &size);
        fits = log_line_fits(line, size + RESERVE);
        if (fits)
            log_line_put(line, piece, size);
    }
    if (!fits)
        log_line_put(line, "...", 3);
    log_line_put(line, "\"", 1);
}

void log_line_ts(char *out, int64_t unix_ms)
{
    char text[32];
    unsigned ms = (unsigned)(unix_ms % 1000);

    clock_rfc3339(unix_ms / 1000, text);
    memcpy(out, text, 19);
    out[19] = '.';
    out[20] = (char)('0' + ms / 100);
    out[21] = (char)('0' + ms / 10 % 10);
    out[22] = (char)('0' + ms % 10);
    out[23] = 'Z';
}
