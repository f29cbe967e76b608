/* Heads of HTTP/1.1 messages, read once into offsets and lengths; strict in both directions: what
 * could be read in two ways is refused, never interpreted. Pure functions over bytes. */
#ifndef PROXY_HTTP1_H
#define PROXY_HTTP1_H

#include "libcommon/problem.h"
#include "services/proxy/chunk.h"

#include <h2o.h>
#include <stdbool.h>
#include <stdint.h>

/* Names the proxy acts upon; the rest is passed as it came. */
enum http1_name {
    NAME_OTHER,

#define HTTP1_NAME(id, text) NAME_##id,
#include "services/proxy/http1_names.def"
#undef HTTP1_NAME
    NAME_COUNT
};

struct http1_field {
    uint32_t name; /* offsets into the head */
    uint32_t value;
    uint32_t value_len;
    uint16_t name_len;
    uint8_t id;   /* enum http1_name */
    bool dropped; /* not passed on */
};

enum http1_result { HTTP1_ERROR = -1, HTTP1_MORE, HTTP1_DONE };

enum http1_body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_CLOSE, BODY_TUNNEL };

struct http1_slice {
    uint32_t at;
    uint32_t len;
};

struct http1_head {
    char *base; /* what the offsets count from */
    size_t len; /* of the whole head, the empty line included */
    struct http1_field *fields;
    size_t count;
    unsigned minor;                    /* HTTP/1.minor */
    struct http1_slice method, target; /* request */
    unsigned status;                   /* response */
    struct http1_slice reason;
    enum http1_body_kind body;
    uint64_t content_length; /* BODY_LENGTH; for a response without body what it claims */
    bool has_length;
    bool keep_alive;            /* by version and Connection */
    bool expect_continue;       /* request */
    uint32_t first[NAME_COUNT]; /* index + 1 of the first field of that name */
    uint8_t seen[NAME_COUNT];   /* how many, saturating */
};

struct http1_limits {
    size_t head_bytes;
    size_t fields; /* capacity of head->fields */
    size_t target_bytes;
};

struct http1_error {
    enum problem problem;
    const char *detail;
};

/* Reads a request's head from buf. HTTP1_MORE: not all there yet. head->fields is the caller's and
 * holds limits->fields. One empty line before it is skipped, and is part of head->len. */
enum http1_result http1_parse_request(char *buf, size_t len, const struct http1_limits *limits,
                                      struct http1_head *head, struct http1_error *error);
/* The same for a response to `method_head` (a HEAD request). */
enum http1_result http1_parse_response(char *buf, size_t len, const struct http1_limits *limits,
                                       bool method_head, struct http1_head *head,
                                       struct http1_error *error);

/* Marks the hop-by-hop fields, and those that Connection names, as dropped. */
void http1_drop_hop_by_hop(struct http1_head *head);
h2o_iovec_t http1_value(const struct http1_head *head, const struct http1_field *field);
/* The first field of that name, NULL where absent. */
struct http1_field *http1_find(const struct http1_head *head, enum http1_name name);
h2o_iovec_t http1_slice(const struct http1_head *head, struct http1_slice slice);
/* A list of tokens contains this one (both without regard to case). */
bool http1_list_has(h2o_iovec_t list, const char *token);
bool http1_is_token(const char *text, size_t len);
/* Names of equal length, without regard to case; an underscore in `sent` is a hyphen: to origins
 * that hand headers on as variables it is. */
bool http1_same_name(const char *sent, const char *name, size_t len);
/* The proxy never passes a header of this name on. */
bool http1_name_hop_by_hop(const char *name);

/* Checks trailer lines and removes in place those that must not come late (framing, routing).
 * -1: malformed. */
int http1_check_trailers(char *lines, size_t *len) __attribute__((warn_unused_result));

/* The body of one message, in either direction. */
struct http1_body {
    enum http1_body_kind kind;
    bool ended;
    uint64_t left;
    struct chunk_decoder chunks;
};

void http1_body_init(struct http1_body *body, enum http1_body_kind kind, uint64_t length);
void http1_body_free(struct http1_body *body);
/* Payload in buf[0, len). -1: the framing is wrong. `ended` is set with the last of it. */
int http1_body_read(struct http1_body *body, char *buf, size_t len, size_t *consumed, char **data,
                    size_t *data_len) __attribute__((warn_unused_result));

#endif
