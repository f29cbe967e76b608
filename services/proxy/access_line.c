/* Owns the text of an access log line. Names and punctuation between values stand in one constant
 * each, and numbers are written without the C library: a line is due for every request. */
#include "services/proxy/access_line.h"

#include "libcommon/log_line.h"

#include <string.h>
#include <time.h>

#define TEXT(line, literal) log_line_put((line), (literal), sizeof(literal) - 1)

void access_clock_set(struct access_clock *clock, int64_t unix_ms)
{
    int64_t second = unix_ms / 1000;
    unsigned ms = (unsigned)(unix_ms % 1000);
    if (second != clock->second) {
        struct tm tm;
        gmtime_r(&second, &tm);
        log_line_ts(clock->ts, unix_ms);
        strftime(clock->clf, sizeof(clock->clf), "%d/%b/%Y:%H:%M:%S +0000", &tm);
        clock->second = second;
    }
    clock->ts[20] = (char)('0' + ms / 100);
    clock->ts[21] = (char)('0' + ms / 10 % 10);
    clock->ts[22] = (char)('0' + ms % 10);
}

static void slice(struct log_line *line, h2o_iovec_t text)
{
    if (text.base)
        log_line_string(line, text.base, text.len);
    else
        TEXT(line, "null");
}

static void text(struct log_line *line, const char *value)
{
    if (value)
        log_line_string(line, value, strlen(value));
    else
        TEXT(line, "null");
}

static void duration(struct log_line *line, int64_t ns)
{
    if (ns < 0)
        TEXT(line, "null");
    else
        log_line_ms(line, ns);
}

static void who(struct log_line *out, const struct access_line *line)
{
    TEXT(out, "\",\"level\":\"info\",\"service\":\"proxy\",\"msg\":\"request\",\"request_id\":");
    text(out, line->request_id);
    TEXT(out, ",\"trace_id\":");
    slice(out, h2o_iovec_init(line->trace_id, line->trace_id ? 32 : 0));
    TEXT(out, ",\"client\":");
    slice(out, line->client);
    TEXT(out, ",\"method\":");
    slice(out, line->method);
    TEXT(out, ",\"protocol\":");
    text(out, line->protocol);
    TEXT(out, ",\"tls\":");
    text(out, line->tls);
    TEXT(out, ",\"host\":");
    slice(out, line->host);
}

static void how(struct log_line *out, const struct access_line *line)
{
    TEXT(out, ",\"status\":");
    log_line_uint(out, line->status);
    TEXT(out, ",\"problem\":");
    text(out, line->problem);
    TEXT(out, ",\"route\":");
    text(out, line->route);
    TEXT(out, ",\"pool\":");
    text(out, line->pool);
    TEXT(out, ",\"backend\":");
    text(out, line->backend);
    TEXT(out, ",\"attempts\":");
    log_line_uint(out, line->attempts);
    TEXT(out, ",\"bytes_in\":");
    log_line_uint(out, line->bytes_in);
    TEXT(out, ",\"bytes_out\":");
    log_line_uint(out, line->bytes_out);
    TEXT(out, ",\"duration_ms\":");
    log_line_ms(out, line->total_ns);
    TEXT(out, ",\"upstream_connect_ms\":");
    duration(out, line->connect_ns);
    TEXT(out, ",\"upstream_head_ms\":");
    duration(out, line->head_ns);
}

/* The path is last of all, so that one that is too long costs nothing else; 25 bytes are kept for
 * what follows it. */
size_t access_line_json(const struct access_line *line, const struct access_clock *clock, char *out,
                        size_t size)
{
    struct log_line at = {.data = out, .room = size - 25};
    TEXT(&at, "{\"ts\":\"");
    log_line_put(&at, clock->ts, sizeof(clock->ts));
    who(&at, line);
    how(&at, line);
    TEXT(&at, ",\"path\":");
    slice(&at, line->path);
    at.room = size;
    if (line->aborted)
        TEXT(&at, ",\"aborted\":true}\n");
    else
        TEXT(&at, ",\"aborted\":false}\n");
    return at.len;
}

/* Quotes, backslashes and what is not printable ASCII as \xHH: nothing can end the field. */
static void quoted(struct log_line *line, h2o_iovec_t value)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.base[i];
        const char escape[] = {'\\', 'x', digits[c >> 4], digits[c & 15]};
        if (!log_line_fits(line, sizeof(escape)))
            return;
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            log_line_put(line, escape, sizeof(escape));
        else
            log_line_put(line, value.base + i, 1);
    }
}

static void dashed(struct log_line *line, h2o_iovec_t value)
{
    if (value.len)
        quoted(line, value);
    else
        TEXT(line, "-");
}

static h2o_iovec_t without_query(h2o_iovec_t url)
{
    for (size_t i = 0; i < url.len; i++)
        if (url.base[i] == '?' || url.base[i] == '#')
            return h2o_iovec_init(url.base, i);
    return url;
}

size_t access_line_combined(const struct access_line *line, const struct access_clock *clock,
                            char *out, size_t size)
{
    struct log_line at = {.data = out, .room = size - 512};
    dashed(&at, line->client);
    TEXT(&at, " - - [");
    log_line_puts(&at, clock->clf);
    TEXT(&at, "] \"");
    dashed(&at, line->method);
    TEXT(&at, " ");
    dashed(&at, line->path);
    TEXT(&at, " ");
    log_line_puts(&at, line->protocol);
    at.room = size - 256;
    TEXT(&at, "\" ");
    log_line_uint(&at, line->status);
    TEXT(&at, " ");
    log_line_uint(&at, line->bytes_out);
    TEXT(&at, " \"");
    dashed(&at, without_query(line->referer));
    at.room = size - 2;
    TEXT(&at, "\" \"");
    dashed(&at, line->agent);
    at.room = size;
    TEXT(&at, "\"\n");
    return at.len;
}
