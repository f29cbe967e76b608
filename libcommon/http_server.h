/* An HTTP server for services' APIs over libmicrohttpd: routes as data, bounded bodies,
 * problem+json, JSON in and out, Idempotency-Key. Handlers run on a pool of threads and may block
 * on a database: one that does holds its own thread and no connection but its own. The body is
 * there whole before a handler runs. Not for the proxy's data plane. */
#ifndef LIBCOMMON_HTTP_SERVER_H
#define LIBCOMMON_HTTP_SERVER_H

#include "libcommon/config.h"
#include "libcommon/problem.h"

#include <jansson.h>

struct http_server;
struct http_request;

enum http_flag {
    HTTP_NO_STORE = 1,   /* Cache-Control: no-store */
    HTTP_IDEMPOTENT = 2, /* POST: honours Idempotency-Key through the server's store */
    HTTP_CORS = 4,       /* Access-Control-Allow-Origin: * and preflight */
};

struct http_route {
    const char *method;
    const char *path; /* "/quote/{id}": a parameter is one whole segment */
    void (*handler)(struct http_request *request, void *ctx);
    unsigned flags;
    size_t max_body; /* bytes; 0: no body allowed */
};

struct http_store; /* where idempotent answers are kept: http_store.h */

struct http_server_options {
    const char *address;      /* "host:port", "[v6]:port"; port 0 picks one */
    int listen_fd;            /* listens there already, taken over; 0 or less: none */
    unsigned threads;         /* 0: 4 */
    unsigned max_connections; /* 0: 1024 */
    unsigned idle_timeout_s;  /* 0: 30; a whole request, and a whole answer, may take twice that */
    const struct http_route *routes;
    size_t route_count;
    void *ctx; /* handed to every handler */
    /* Networks (const char *, CIDR) whose X-Forwarded-For is believed; NULL or empty: loopback,
     * private and link-local addresses. */
    const struct config_list *trusted_proxies;
    struct http_store *store; /* NULL: no route has HTTP_IDEMPOTENT */
    /* Told of each answer, for metrics; may be NULL. */
    void (*observe)(void *ctx, const struct http_route *route, unsigned status, double seconds);
    /* Whose handler is run where no route matches; it refuses with http_unmatched(). NULL: that is
     * answered at once. */
    const struct http_route *unmatched;
};

int http_server_start(const struct http_server_options *options, struct http_server **out,
                      struct err *err) MUST_USE;
unsigned http_server_port(const struct http_server *server);
/* The listening socket, the server's; -1: it accepts no more. */
int http_server_fd(const struct http_server *server);
/* Refuses new connections; running handlers end. */
void http_server_drain(struct http_server *server);
void http_server_stop(struct http_server **server);

const char *http_method(const struct http_request *request);
const char *http_path(const struct http_request *request);
const char *http_param(const struct http_request *request,
                       const char *name); /* never NULL for a name of the route */
const char *http_query(const struct http_request *request, const char *name);  /* NULL: absent */
const char *http_header(const struct http_request *request, const char *name); /* NULL: absent */
const char *http_request_id(const struct http_request *request);
/* Why no route matches: not-found or method-not-allowed (Allow is added). */
enum problem http_unmatched(const struct http_request *request);
/* The client: X-Forwarded-For's last entry that is no trusted proxy where the peer is one, else the
 * peer. */
const char *http_client(const struct http_request *request);
const char *http_body(const struct http_request *request, size_t *len); /* NUL-terminated */

/* The body as a JSON object (Content-Type application/json, no duplicate keys, depth and size
 * bounded); borrowed, lives as long as the request. NULL: a refusal was already sent, return. */
json_t *http_json_object(struct http_request *request);
/* A required string member of at most max bytes, no control characters. NULL: refused with the
 * field's name; return. */
const char *http_json_string(struct http_request *request, json_t *object, const char *field,
                             size_t max);
/* A required integer in min..max. -1: refused. */
int http_json_int(struct http_request *request, json_t *object, const char *field, int64_t min,
                  int64_t max, int64_t *out) MUST_USE;
/* Refuses members that are not in the NULL-terminated list. -1: refused. */
int http_json_only(struct http_request *request, json_t *object,
                   const char *const *fields) MUST_USE;

/* The bearer token of Authorization; NULL: absent or malformed (nothing was sent). */
const char *http_bearer(const struct http_request *request);

/* Answers. Exactly one is sent for each request; a handler that sends none answers 500. Steals
 * `body`. */
void http_reply_json(struct http_request *request, unsigned status, json_t *body);
void http_reply_text(struct http_request *request, unsigned status, const char *type,
                     const char *body, size_t len);
void http_reply_problem(struct http_request *request, enum problem problem, const char *detail, ...)
    PRINTF_LIKE(3, 4);
/* Adds a header to the answer that follows: at most 16; a value with control characters is left
 * out. 401, 429 and 503 get WWW-Authenticate and Retry-After by themselves where these are not
 * added. */
void http_reply_header(struct http_request *request, const char *name, const char *value);
bool http_replied(const struct http_request *request);

/* For HTTP_IDEMPOTENT routes: once the body was checked, with the scope (subscriber or key id).
 * true: go on and do the work; the answer's status and body are kept, unless it is a server error
 * or a problem that may be retried. false: an earlier answer was sent again, or a refusal; return.
 * Without an Idempotency-Key header: true. */
bool http_idempotent_begin(struct http_request *request, const char *scope);

#endif
