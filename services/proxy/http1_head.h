/* What the parsers of requests and of responses share: the reading of fields. Private to the
 * codec. */
#ifndef PROXY_HTTP1_HEAD_H
#define PROXY_HTTP1_HEAD_H

#include "services/proxy/http1.h"

#define CONNECTION_OPTIONS_MAX 32

struct http1_reader {
    const char *buf;
    size_t len;
    size_t at;
    const struct http1_limits *limits;
    struct http1_error *error;
};

extern const bool http1_token_char[256];

enum http1_result http1_fail(struct http1_reader *reader, enum problem problem, const char *detail);
/* Fields and the empty line behind them. */
enum http1_result http1_read_fields(struct http1_reader *reader, struct http1_head *head);
/* "\r\n" at the reader's place. */
enum http1_result http1_read_crlf(struct http1_reader *reader, const char *detail);
/* The first control character but HTAB at or behind p; end where there is none. */
const char *http1_find_control(const char *p, const char *end);
/* Each option of Connection is compared with each field: they are bounded. */
enum http1_result http1_check_connection(struct http1_reader *reader,
                                         const struct http1_head *head);
/* Connection: close / keep-alive against the version's default. */
bool http1_persists(const struct http1_head *head);
/* Content-Length, once, digits only. */
enum http1_result http1_read_length(struct http1_reader *reader, struct http1_head *head);

#endif
