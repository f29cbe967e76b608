/* One request of http_server, and what its parts share. For http_server*.c only. */
#ifndef LIBCOMMON_HTTP_SERVER_REQUEST_H
#define LIBCOMMON_HTTP_SERVER_REQUEST_H

#include "libcommon/buf.h"
#include "libcommon/cidr.h"
#include "libcommon/http_server.h"
#include "libcommon/http_store.h"

#include <microhttpd.h>
#include <stdint.h>

#define HTTP_MAX_SEGMENTS 16
#define HTTP_MAX_HEADERS  16
#define HTTP_MAX_QUERY    32
#define HTTP_MAX_TARGET   4096
#define HTTP_ID_LEN       64
#define HTTP_HEX_LEN      64 /* SHA-256 */

struct http_pair {
    char *name;
    char *value;
};

struct http_request {
    const struct http_server_options *options;
    const struct cidr_list *trusted;
    struct MHD_Connection *connection;
    const struct http_route *route; /* NULL: none matches */
    const char *method;
    char *path; /* as it was sent */
    char id[HTTP_ID_LEN + 1];
    char client[64];
    char *segments[HTTP_MAX_SEGMENTS]; /* decoded */
    size_t segment_count;
    struct http_pair query[HTTP_MAX_QUERY];
    size_t query_count;
    struct buf body;
    size_t discarded;
    json_t *json;

    struct MHD_Response *response; /* the answer, once there is one */
    unsigned status;
    struct http_pair headers[HTTP_MAX_HEADERS]; /* of the answer that follows */
    size_t header_count;

    bool claimed; /* of the store, under these */
    char idempotency_key[HTTP_HEX_LEN + 1];
    char fingerprint[HTTP_HEX_LEN + 1];

    enum problem unmatched; /* why the route is options->unmatched; PROBLEM_NONE: it is another */
    bool cors;              /* some route of this path answers browsers of any origin */
    bool suspended;         /* handed to a worker */
    int64_t started_ns;
    struct http_request *next; /* in the queue of workers */
};

/* Reads the head: id, client, path, query, route, lengths. A refusal becomes the answer. */
void http_request_read_head(struct http_request *request);
void http_request_free(struct http_request *request);

/* Decodes %xx strictly; the caller's. NULL: an invalid escape, or a control character. */
char *http_request_decode(const char *text);
size_t http_request_count_header(const struct http_request *request, const char *name);

/* Finds the route of the path; answers 404, 405 and OPTIONS itself. */
void http_route_find(struct http_request *request);
const char *http_route_param(const struct http_request *request, const char *name);

#endif
