/* A message is lines in a fixed order; the parser takes one after the other off the front. Every
 * length is bounded by a field of struct siwe. */
#include "services/subd/siwe.h"

#include "libcommon/buf.h"
#include "libcommon/clock.h"
#include "libcommon/eth/hex.h"

#include <stdbool.h>
#include <string.h>

#define TITLE " wants you to sign in with your Ethereum account:"

struct line {
    const char *text;
    size_t len;
};

struct reader {
    const char *at, *end;
    bool done; /* the last line was taken */
};

/* "" once the text is over, so that a missing field is reported by its name. */
static struct line next_line(struct reader *reader)
{
    struct line line = {.text = reader->end};
    if (reader->done)
        return line;
    const char *stop = memchr(reader->at, '\n', (size_t)(reader->end - reader->at));
    line.text = reader->at;
    line.len = (size_t)((stop ? stop : reader->end) - reader->at);
    reader->done = !stop;
    reader->at = stop ? stop + 1 : reader->end;
    return line;
}

static bool starts(const struct reader *reader, const char *prefix)
{
    size_t len = strlen(prefix);
    return !reader->done && (size_t)(reader->end - reader->at) >= len &&
           memcmp(reader->at, prefix, len) == 0;
}

static int keep(const char *text, size_t len, char *out, size_t size, const char *field,
                struct err *err)
{
    if (len == 0)
        return err_set(err, "message: %s is empty", field);
    if (len >= size)
        return err_set(err, "message: %s is longer than %zu characters", field, size - 1);
    memcpy(out, text, len);
    out[len] = '\0';
    return 0;
}

/* "<prefix><value>", a whole line. */
static int take(struct reader *reader, const char *prefix, char *out, size_t size,
                const char *field, struct err *err)
{
    struct line line = next_line(reader);
    size_t skip = strlen(prefix);
    if (line.len < skip || memcmp(line.text, prefix, skip) != 0)
        return err_set(err, "message: a line \"%s...\" is missing", prefix);
    return keep(line.text + skip, line.len - skip, out, size, field, err);
}

static int take_empty(struct reader *reader, const char *where, struct err *err)
{
    struct line line = next_line(reader);
    return line.len ? err_set(err, "message: an empty line is missing %s", where) : 0;
}

static int take_time(struct reader *reader, const char *prefix, const char *field, int64_t *out,
                     struct err *err)
{
    char text[64];
    if (take(reader, prefix, text, sizeof(text), field, err))
        return -1;
    if (clock_parse_rfc3339(text, out) || *out <= 0)
        return err_set(err, "message: %s is not a time as in RFC 3339", field);
    return 0;
}

static bool only(const char *text, bool (*allowed)(char c))
{
    for (; *text; text++) {
        if (!allowed(*text))
            return false;
    }
    return true;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_scheme(char c)
{
    return is_alnum(c) || c == '+' || c == '-' || c == '.';
}

static bool is_authority(char c)
{
    return is_alnum(c) || (c && strchr("-._~%!$&'()*+,;=:@[]", c));
}

static bool is_uri(char c)
{
    return is_authority(c) || (c && strchr("/?#", c));
}

static bool is_text(char c)
{
    return c >= ' ' && c != 127;
}

static int take_header(struct reader *reader, struct siwe *out, struct err *err)
{
    struct line line = next_line(reader);
    size_t title = strlen(TITLE);
    if (line.len < title || memcmp(line.text + line.len - title, TITLE, title) != 0)
        return err_set(err, "message: the first line is \"<domain>%s\"", TITLE);
    size_t len = line.len - title;
    const char *mark = memmem(line.text, len, "://", 3);
    const char *domain = mark ? mark + 3 : line.text;
    if (mark && (keep(line.text, (size_t)(mark - line.text), out->scheme, sizeof(out->scheme),
                      "scheme", err) ||
                 !only(out->scheme, is_scheme)))
        return err_set(err, "message: the scheme is malformed");
    if (keep(domain, len - (size_t)(domain - line.text), out->domain, sizeof(out->domain), "domain",
             err))
        return -1;
    return only(out->domain, is_authority) ? 0 : err_set(err, "message: the domain is malformed");
}

static int take_address(struct reader *reader, struct siwe *out, struct err *err)
{
    char text[64], proper[43];
    if (take(reader, "", text, sizeof(text), "address", err) || hex_address(text, out->wallet, err))
        return err_wrap(err, "message: address");
    hex_address_format(out->wallet, proper);
    if (strcmp(text, proper) != 0)
        return err_set(err, "message: the address is not in EIP-55 case");
    memcpy(out->address, proper, sizeof(proper));
    return 0;
}

/* An empty line, then nothing or a statement, and an empty line. */
static int take_statement(struct reader *reader, struct siwe *out, struct err *err)
{
    if (take_empty(reader, "after the address", err))
        return -1;
    if (starts(reader, "\n")) {
        next_line(reader);
        return 0;
    }
    if (take(reader, "", out->statement, sizeof(out->statement), "statement", err))
        return -1;
    if (!only(out->statement, is_text))
        return err_set(err, "message: statement: only printable ASCII");
    return take_empty(reader, "after the statement", err);
}

static int take_uri(struct reader *reader, const char *prefix, const char *field, char *out,
                    size_t size, struct err *err)
{
    if (take(reader, prefix, out, size, field, err))
        return -1;
    const char *colon = strchr(out, ':');
    if (!only(out, is_uri) || !colon || colon == out)
        return err_set(err, "message: %s is not a URI", field);
    return 0;
}

static int take_chain(struct reader *reader, struct siwe *out, struct err *err)
{
    char text[20] = "";
    if (take(reader, "Chain ID: ", text, sizeof(text), "chain id", err))
        return -1;
    int64_t value = 0;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9' || value > (INT64_MAX - 9) / 10)
            return err_set(err, "message: chain id: not a number in range");
        value = value * 10 + (*c - '0');
    }
    if (text[0] == '0')
        return err_set(err, "message: chain id: not a number in range");
    out->chain_id = value;
    return 0;
}

static int take_nonce(struct reader *reader, struct siwe *out, struct err *err)
{
    if (take(reader, "Nonce: ", out->nonce, sizeof(out->nonce), "nonce", err))
        return -1;
    if (strlen(out->nonce) < 8 || !only(out->nonce, is_alnum))
        return err_set(err, "message: nonce: 8 or more letters and digits");
    return 0;
}

static int take_version(struct reader *reader, struct err *err)
{
    char text[8];
    if (take(reader, "Version: ", text, sizeof(text), "version", err))
        return -1;
    return strcmp(text, "1") == 0 ? 0 : err_set(err, "message: version: only 1 is known");
}

static int take_optional(struct reader *reader, struct siwe *out, struct err *err)
{
    if (starts(reader, "Expiration Time: ") &&
        take_time(reader, "Expiration Time: ", "expiration time", &out->expires_at, err))
        return -1;
    if (starts(reader, "Not Before: ") &&
        take_time(reader, "Not Before: ", "not before", &out->not_before, err))
        return -1;
    if (starts(reader, "Request ID: ") && (take(reader, "Request ID: ", out->request_id,
                                                sizeof(out->request_id), "request id", err) ||
                                           !only(out->request_id, is_authority)))
        return err_set(err, "message: request id: malformed");
    return 0;
}

static int take_resources(struct reader *reader, struct siwe *out, struct err *err)
{
    if (reader->done)
        return 0;
    struct line line = next_line(reader);
    if (line.len != 10 || memcmp(line.text, "Resources:", 10) != 0)
        return err_set(err, "message: a line that does not belong there");
    while (!reader->done) {
        if (out->resource_count == SIWE_RESOURCES)
            return err_set(err, "message: more than %d resources", SIWE_RESOURCES);
        char *resource = out->resources[out->resource_count++];
        if (take_uri(reader, "- ", "resource", resource, SIWE_TEXT, err))
            return -1;
    }
    return 0;
}

int siwe_parse(const char *text, size_t len, struct siwe *out, struct err *err)
{
    struct reader reader = {.at = text, .end = text + len};
    memset(out, 0, sizeof(*out));
    if (len > SIWE_MAX)
        return err_set(err, "message: longer than %d bytes", SIWE_MAX);
    if (memchr(text, '\0', len))
        return err_set(err, "message: a NUL byte");
    if (take_header(&reader, out, err) || take_address(&reader, out, err) ||
        take_statement(&reader, out, err) ||
        take_uri(&reader, "URI: ", "uri", out->uri, sizeof(out->uri), err) ||
        take_version(&reader, err) || take_chain(&reader, out, err) ||
        take_nonce(&reader, out, err) ||
        take_time(&reader, "Issued At: ", "issued at", &out->issued_at, err) ||
        take_optional(&reader, out, err))
        return -1;
    return take_resources(&reader, out, err);
}

static void put_time(struct buf *out, const char *prefix, int64_t at)
{
    char text[32];
    if (at == 0)
        return;
    clock_rfc3339(at, text);
    buf_printf(out, "\n%s%s", prefix, text);
}

char *siwe_format(const struct siwe *message)
{
    struct buf out = {0};
    buf_printf(&out, "%s%s%s" TITLE "\n%s\n\n", message->scheme, message->scheme[0] ? "://" : "",
               message->domain, message->address);
    if (message->statement[0])
        buf_printf(&out, "%s\n", message->statement);
    buf_printf(&out, "\nURI: %s\nVersion: 1\nChain ID: %lld\nNonce: %s", message->uri,
               (long long)message->chain_id, message->nonce);
    put_time(&out, "Issued At: ", message->issued_at);
    put_time(&out, "Expiration Time: ", message->expires_at);
    put_time(&out, "Not Before: ", message->not_before);
    if (message->request_id[0])
        buf_printf(&out, "\nRequest ID: %s", message->request_id);
    if (message->resource_count)
        buf_puts(&out, "\nResources:");
    for (size_t i = 0; i < message->resource_count; i++)
        buf_printf(&out, "\n- %s", message->resources[i]);
    return buf_steal(&out);
}
