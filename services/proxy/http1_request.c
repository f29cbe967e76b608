/* Parser of request heads. */
#include "services/proxy/http1_head.h"

#include <string.h>

#define METHOD_MAX 32

static enum http1_result read_method(struct http1_reader *reader, struct http1_head *head)
{
    size_t start = reader->at, at = start;
    while (at < reader->len && http1_token_char[(unsigned char)reader->buf[at]])
        at++;
    if (at - start > METHOD_MAX)
        return http1_fail(reader, PROBLEM_BAD_REQUEST, "the method is too long");
    if (at == reader->len)
        return HTTP1_MORE;
    if (at == start || reader->buf[at] != ' ')
        return http1_fail(reader, PROBLEM_BAD_REQUEST, "the method is malformed");
    head->method = (struct http1_slice){(uint32_t)start, (uint32_t)(at - start)};
    reader->at = at + 1;
    return HTTP1_DONE;
}

static enum http1_result read_target(struct http1_reader *reader, struct http1_head *head)
{
    size_t start = reader->at, at = start;
    while (at < reader->len && (unsigned char)(reader->buf[at] - 0x21) < 0x7f - 0x21 &&
           reader->buf[at] != '#')
        at++;
    if (at - start > reader->limits->target_bytes)
        return http1_fail(reader, PROBLEM_URI_TOO_LONG, NULL);
    if (at == reader->len)
        return HTTP1_MORE;
    if (at == start || reader->buf[at] != ' ')
        return http1_fail(reader, PROBLEM_BAD_REQUEST, "the request target is malformed");
    head->target = (struct http1_slice){(uint32_t)start, (uint32_t)(at - start)};
    reader->at = at + 1;
    return HTTP1_DONE;
}

static enum http1_result read_version(struct http1_reader *reader, struct http1_head *head)
{
    static const char prefix[] = "HTTP/";
    size_t left = reader->len - reader->at;
    const char *text = reader->buf + reader->at;
    size_t n = left < sizeof(prefix) - 1 ? left : sizeof(prefix) - 1;
    if (memcmp(text, prefix, n) != 0)
        return http1_fail(reader, PROBLEM_BAD_REQUEST, "the request line is malformed");
    if (left < 8)
        return HTTP1_MORE;
    bool digits =
        text[5] >= '0' && text[5] <= '9' && text[6] == '.' && text[7] >= '0' && text[7] <= '9';
    if (!digits)
        return http1_fail(reader, PROBLEM_BAD_REQUEST, "the HTTP version is malformed");
    if (text[5] != '1' || text[7] > '1')
        return http1_fail(reader, PROBLEM_VERSION_NOT_SUPPORTED, NULL);
    head->minor = (unsigned)(text[7] - '0');
    reader->at += 8;
    return http1_read_crlf(reader, "the request line ends without CRLF");
}

static enum http1_result read_line(struct http1_reader *reader, struct http1_head *head)
{
    if (reader->len > 0 && (reader->buf[0] == '\r' || reader->buf[0] == '\n')) {
        enum http1_result result = http1_read_crlf(reader, "a line ends without CRLF");
        if (result != HTTP1_DONE)
            return result;
    }
    enum http1_result result = read_method(reader, head);
    if (result == HTTP1_DONE)
        result = read_target(reader, head);
    return result == HTTP1_DONE ? read_version(reader, head) : result;
}

static enum http1_result check_framing(struct http1_reader *reader, struct http1_head *head)
{
    const struct http1_field *coding = http1_find(head, NAME_TRANSFER_ENCODING);
    enum http1_result result = http1_read_length(reader, head);
    if (result != HTTP1_DONE)
        return result;
    if (!coding) {
        head->body = head->content_length ? BODY_LENGTH : BODY_NONE;
        return HTTP1_DONE;
    }
    if (head->has_length)
        return http1_fail(reader, PROBLEM_BAD_REQUEST,
                          "Transfer-Encoding and Content-Length exclude each other");
    if (head->minor == 0)
        return http1_fail(reader, PROBLEM_BAD_REQUEST, "Transfer-Encoding is not of HTTP/1.0");
    h2o_iovec_t value = http1_value(head, coding);
    if (head->seen[NAME_TRANSFER_ENCODING] > 1 || !h2o_lcstris(value.base, value.len, "chunked", 7))
        return http1_fail(reader, PROBLEM_NOT_IMPLEMENTED, "Transfer-Encoding can only be chunked");
    head->body = BODY_CHUNKED;
    return HTTP1_DONE;
}

static enum http1_result check_expect(struct http1_reader *reader, struct http1_head *head)
{
    const struct http1_field *field = http1_find(head, NAME_EXPECT);
    if (!field || head->minor == 0)
        return HTTP1_DONE;
    h2o_iovec_t value = http1_value(head, field);
    if (head->seen[NAME_EXPECT] > 1 || !h2o_lcstris(value.base, value.len, "100-continue", 12))
        return http1_fail(reader, PROBLEM_EXPECTATION_FAILED, NULL);
    head->expect_continue = true;
    return HTTP1_DONE;
}

static enum http1_result check_host(struct http1_reader *reader, const struct http1_head *head)
{
    if (head->seen[NAME_HOST] > 1)
        return http1_fail(reader, PROBLEM_BAD_REQUEST, "Host is there more than once");
    if (head->seen[NAME_HOST] == 0 && head->minor == 1)
        return http1_fail(reader, PROBLEM_BAD_REQUEST, "Host is missing");
    return HTTP1_DONE;
}

static enum http1_result read_all(struct http1_reader *reader, struct http1_head *head)
{
    enum http1_result result = read_line(reader, head);
    if (result == HTTP1_DONE)
        result = http1_read_fields(reader, head);
    if (result == HTTP1_MORE && reader->len > reader->limits->head_bytes)
        return http1_fail(reader, PROBLEM_HEADERS_TOO_LARGE, NULL);
    if (result != HTTP1_DONE)
        return result;
    if (reader->at > reader->limits->head_bytes)
        return http1_fail(reader, PROBLEM_HEADERS_TOO_LARGE, NULL);
    result = http1_check_connection(reader, head);
    if (result == HTTP1_DONE)
        result = check_host(reader, head);
    if (result == HTTP1_DONE)
        result = check_framing(reader, head);
    return result == HTTP1_DONE ? check_expect(reader, head) : result;
}

static void head_clear(struct http1_head *head, char *buf)
{
    struct http1_field *fields = head->fields;
    memset(head, 0, sizeof(*head));
    head->fields = fields;
    head->base = buf;
}

enum http1_result http1_parse_request(char *buf, size_t len, const struct http1_limits *limits,
                                      struct http1_head *head, struct http1_error *error)
{
    struct http1_reader reader = {buf, len, 0, limits, error};
    head_clear(head, buf);
    enum http1_result result = read_all(&reader, head);
    if (result != HTTP1_DONE)
        return result;
    head->len = reader.at;
    head->keep_alive = http1_persists(head);
    return HTTP1_DONE;
}
