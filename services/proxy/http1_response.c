/* Parser of response heads: an origin is trusted no more than a client. */
#include "services/proxy/http1_head.h"

#include <string.h>

static enum http1_result read_status(struct http1_reader *reader, struct http1_head *head)
{
    static const char prefix[] = "HTTP/1.";
    size_t left = reader->len - reader->at;
    const char *text = reader->buf + reader->at;
    size_t n = left < sizeof(prefix) - 1 ? left : sizeof(prefix) - 1;
    if (memcmp(text, prefix, n) != 0)
        return http1_fail(reader, PROBLEM_BAD_GATEWAY, "the status line is not of HTTP/1");
    if (left < 13)
        return HTTP1_MORE;
    if ((text[7] != '0' && text[7] != '1') || text[8] != ' ')
        return http1_fail(reader, PROBLEM_BAD_GATEWAY, "the status line is malformed");
    head->minor = (unsigned)(text[7] - '0');
    for (size_t i = 9; i < 12; i++) {
        if (text[i] < '0' || text[i] > '9')
            return http1_fail(reader, PROBLEM_BAD_GATEWAY, "the status is not a number");
        head->status = head->status * 10 + (unsigned)(text[i] - '0');
    }
    if (head->status < 100 || head->status > 599)
        return http1_fail(reader, PROBLEM_BAD_GATEWAY, "the status is out of range");
    reader->at += 12;
    return HTTP1_DONE;
}

static enum http1_result read_reason(struct http1_reader *reader, struct http1_head *head)
{
    const char *buf = reader->buf;
    if (buf[reader->at] != '\r' && buf[reader->at] != ' ')
        return http1_fail(reader, PROBLEM_BAD_GATEWAY, "the status line is malformed");
    if (buf[reader->at] == ' ')
        reader->at++;
    size_t start = reader->at;
    reader->at = (size_t)(http1_find_control(buf + start, buf + reader->len) - buf);
    head->reason = (struct http1_slice){(uint32_t)start, (uint32_t)(reader->at - start)};
    return http1_read_crlf(reader, "the status line ends without CRLF");
}

static enum http1_result read_coding(struct http1_reader *reader, struct http1_head *head)
{
    const struct http1_field *coding = http1_find(head, NAME_TRANSFER_ENCODING);
    if (!coding)
        return HTTP1_DONE;
    h2o_iovec_t value = http1_value(head, coding);
    if (head->has_length || head->minor == 0 || head->seen[NAME_TRANSFER_ENCODING] > 1 ||
        !h2o_lcstris(value.base, value.len, "chunked", 7))
        return http1_fail(reader, PROBLEM_BAD_GATEWAY, "the framing is ambiguous or not supported");
    return HTTP1_DONE;
}

static void choose_body(struct http1_head *head, bool method_head)
{
    if (method_head || head->status < 200 || head->status == 204 || head->status == 304)
        head->body = BODY_NONE;
    else if (head->seen[NAME_TRANSFER_ENCODING])
        head->body = BODY_CHUNKED;
    else if (head->has_length)
        head->body = BODY_LENGTH;
    else
        head->body = BODY_CLOSE;
}

static enum http1_result read_all(struct http1_reader *reader, struct http1_head *head)
{
    enum http1_result result = read_status(reader, head);
    if (result == HTTP1_DONE)
        result = read_reason(reader, head);
    if (result == HTTP1_DONE)
        result = http1_read_fields(reader, head);
    if (result == HTTP1_MORE ? reader->len > reader->limits->head_bytes
                             : reader->at > reader->limits->head_bytes)
        return http1_fail(reader, PROBLEM_BAD_GATEWAY, "the head is too large");
    if (result == HTTP1_DONE)
        result = http1_check_connection(reader, head);
    if (result == HTTP1_DONE)
        result = http1_read_length(reader, head);
    return result == HTTP1_DONE ? read_coding(reader, head) : result;
}

enum http1_result http1_parse_response(char *buf, size_t len, const struct http1_limits *limits,
                                       bool method_head, struct http1_head *head,
                                       struct http1_error *error)
{
    struct http1_reader reader = {buf, len, 0, limits, error};
    struct http1_field *fields = head->fields;
    memset(head, 0, sizeof(*head));
    head->fields = fields;
    head->base = buf;
    enum http1_result result = read_all(&reader, head);
    if (result == HTTP1_ERROR)
        error->problem = PROBLEM_BAD_GATEWAY;
    if (result != HTTP1_DONE)
        return result;
    head->len = reader.at;
    head->keep_alive = http1_persists(head);
    choose_body(head, method_head);
    return HTTP1_DONE;
}
