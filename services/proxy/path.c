/* Normal form of paths (RFC 3986 section 6.2.2) and hosts, strict: what cannot be read in one way
 * only is refused. */
#include "services/proxy/path.h"

#include "libcommon/mem.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

static bool unreserved(unsigned c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool path_is_normal(h2o_iovec_t path)
{
    char before = 0;
    for (size_t i = 0; i < path.len; i++) {
        char c = path.base[i];
        if (c == '%' || c == '\\' || (before == '/' && (c == '/' || c == '.')))
            return false;
        before = c;
    }
    return true;
}

/* One escape at `in`; the count of bytes written to `out`, 0 where it is refused. */
static size_t decode(const char *in, size_t left, char *out, const char **why)
{
    int high = left >= 3 ? hex_digit(in[1]) : -1;
    int low = left >= 3 ? hex_digit(in[2]) : -1;
    if (high < 0 || low < 0) {
        *why = "the path holds an invalid escape";
        return 0;
    }
    unsigned c = (unsigned)high << 4 | (unsigned)low;
    if (c == 0xc0 || c == 0xc1) {
        *why = "the path holds an overlong encoding";
        return 0;
    }
    if (c == 0 || c == '/' || c == '\\') {
        *why = "the path holds an encoded slash, backslash or NUL";
        return 0;
    }
    if (unreserved(c)) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '%';
    out[1] = "0123456789ABCDEF"[high];
    out[2] = "0123456789ABCDEF"[low];
    return 3;
}

static const char *decode_all(h2o_iovec_t in, char *out, size_t *out_len)
{
    const char *why = NULL;
    size_t len = 0;
    for (size_t i = 0; i < in.len;) {
        char c = in.base[i];
        if (c == '\\')
            return "the path holds a backslash";
        if (c != '%') {
            out[len++] = c;
            i++;
            continue;
        }
        char escape[3];
        size_t n = decode(in.base + i, in.len - i, escape, &why);
        if (n == 0)
            return why;
        memcpy(out + len, escape, n);
        len += n;
        i += 3;
    }
    *out_len = len;
    return NULL;
}

/* The byte that is escaped at buf[at]; -1: none is. */
static int escaped(const char *buf, size_t len, size_t at)
{
    if (len <= at || len - at < 3 || buf[at] != '%')
        return -1;
    int high = hex_digit(buf[at + 1]), low = hex_digit(buf[at + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* ASCII in more than the one byte that UTF-8 has for it (RFC 3629 section 3): a slash or a dot to
 * decoders that do not mind. In two bytes it is refused where it is decoded; others begin with a
 * lead byte and so many bytes of nothing. */
static bool overlong(const char *buf, size_t len)
{
    static const int leads[] = {0xe0, 0xf0, 0xf8, 0xfc, 0xfe};
    for (size_t at = 0; at < len; at++) {
        int lead = buf[at] == '%' ? escaped(buf, len, at) : -1;
        size_t empty = 0, next = at + 3;
        while (empty < ARRAY_LEN(leads) && leads[empty] != lead)
            empty++;
        if (empty == ARRAY_LEN(leads))
            continue;
        while (empty > 0 && escaped(buf, len, next) == 0x80) {
            empty--;
            next += 3;
        }
        if (empty == 0 && (escaped(buf, len, next) & ~1) == 0x80 &&
            (escaped(buf, len, next + 3) & ~0x3f) == 0x80)
            return true;
    }
    return false;
}

/* The segment [at, end) of buf is "." or ".."; 0 where it is neither. */
static unsigned dots(const char *buf, size_t at, size_t end)
{
    if (end - at == 1 && buf[at] == '.')
        return 1;
    if (end - at == 2 && buf[at] == '.' && buf[at + 1] == '.')
        return 2;
    return 0;
}

/* "..;x" is a dot segment to servers that cut parameters off segments, and a name to all others. */
static bool dotted_parameters(const char *buf, size_t len)
{
    for (size_t at = 1; at < len; at++) {
        size_t dot = at;
        if (buf[at - 1] != '/' || buf[at] != '.')
            continue;
        while (dot < len && dot - at < 2 && buf[dot] == '.')
            dot++;
        if (dot < len && (buf[dot] == ';' || (len - dot >= 3 && memcmp(buf + dot, "%3B", 3) == 0)))
            return true;
    }
    return false;
}

static size_t remove_segments(char *buf, size_t len)
{
    size_t out = 0; /* buf[0, out) is normal and has no trailing slash */
    bool slash = true;
    for (size_t at = 1; at <= len;) {
        size_t end = at;
        while (end < len && buf[end] != '/')
            end++;
        unsigned dot = dots(buf, at, end);
        if (dot == 2) {
            while (out > 0 && buf[--out] != '/')
                ;
        } else if (dot == 0 && end > at) {
            buf[out] = '/';
            memmove(buf + out + 1, buf + at, end - at);
            out += end - at + 1;
        }
        slash = end < len || dot != 0 || end == at;
        at = end + 1;
    }
    if (slash || out == 0)
        buf[out++] = '/';
    return out;
}

const char *path_normalize(h2o_iovec_t in, char *out, size_t *out_len)
{
    size_t len = 0;
    const char *why = decode_all(in, out, &len);
    if (why)
        return why;
    if (overlong(out, len))
        return "the path holds an overlong encoding";
    if (dotted_parameters(out, len))
        return "the path holds a dot segment with parameters";
    *out_len = remove_segments(out, len);
    return NULL;
}

static bool port_valid(const char *text, size_t len)
{
    unsigned port = 0;
    if (len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return port <= 65535;
}

static bool host_char(char c)
{
    return unreserved((unsigned char)c) && c != '~';
}

/* An IPv6 address, brackets included. */
static bool literal_valid(const char *text, size_t len)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (len < 4 || len - 2 >= sizeof(copy))
        return false;
    memcpy(copy, text + 1, len - 2);
    copy[len - 2] = '\0';
    return strlen(copy) == len - 2 && inet_pton(AF_INET6, copy, &address) == 1;
}

unsigned host_port(h2o_iovec_t in)
{
    const char *colon = memrchr(in.base, ':', in.len);
    unsigned port = 0;
    if (!colon || memchr(colon, ']', in.len - (size_t)(colon - in.base)))
        return 0;
    for (colon++; colon < in.base + in.len; colon++)
        port = port * 10 + (unsigned)(*colon - '0');
    return port;
}

int host_normalize(h2o_iovec_t in, char *out, size_t *out_len)
{
    size_t len = 0;
    bool literal = in.len > 0 && in.base[0] == '[';
    const char *end = literal ? memchr(in.base, ']', in.len) : memchr(in.base, ':', in.len);
    if (literal && !end)
        return -1;
    size_t host = end ? (size_t)(end - in.base) + literal : in.len;
    if (host < in.len &&
        (in.base[host] != ':' || !port_valid(in.base + host + 1, in.len - host - 1)))
        return -1;
    if (!literal && host > 1 && in.base[host - 1] == '.')
        host--;
    if (host == 0 || host > 255 || (literal && !literal_valid(in.base, host)))
        return -1;
    for (size_t i = 0; i < host; i++) {
        char c = in.base[i];
        if (!literal && !host_char(c))
            return -1;
        out[len++] = (char)tolower((unsigned char)c);
    }
    if (!literal && (out[0] == '.' || memmem(out, len, "..", 2) || out[len - 1] == '.'))
        return -1;
    *out_len = len;
    return 0;
}
