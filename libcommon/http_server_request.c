/* Owns the reading of a request's head into something a handler can trust: decoded once and
 * strictly, bounded in every count, with one meaning for each message. What could be read in two
 * ways is refused here. */
#include "libcommon/http_server_request.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *http_request_decode(const char *text)
{
    AUTO_FREE char *out = mem_alloc(strlen(text) + 1);
    size_t len = 0;

    while (*text != '\0') {
        int c = (unsigned char)*text++;
        if (c == '%') {
            int high = hex_digit(text[0]);
            int low = high < 0 ? -1 : hex_digit(text[1]);
            if (low < 0)
                return NULL;
            c = high * 16 + low;
            text += 2;
        }
        if (c < 0x20 || c == 0x7f)
            return NULL;
        out[len++] = (char)c;
    }
    out[len] = '\0';
    return MEM_STEAL(out);
}

static bool sane_id(const char *id)
{
    static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "._:-";
    size_t len = strnlen(id, HTTP_ID_LEN + 1);

    return len > 0 && len <= HTTP_ID_LEN && strspn(id, allowed) == len;
}

static void read_id(struct http_request *request)
{
    const char *given = http_header(request, "X-Request-Id");
    unsigned char random[16] = {0};

    if (given != NULL && sane_id(given)) {
        snprintf(request->id, sizeof(request->id), "%s", given);
        return;
    }
    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        abort();
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(request->id + 2 * i, 3, "%02x", random[i]);
}

/* The peer's address as text; whether its word on the client counts. */
static bool read_peer(struct http_request *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct address address;

    snprintf(request->client, sizeof(request->client), "unknown");
    if (info == NULL || info->client_addr == NULL ||
        (info->client_addr->sa_family != AF_INET && info->client_addr->sa_family != AF_INET6))
        return false;
    address_of(info->client_addr, &address);
    address_text(&address, request->client);
    return cidr_contains(request->trusted, &address);
}

static enum MHD_Result last_forwarded(void *ctx, enum MHD_ValueKind kind, const char *name,
                                      const char *value)
{
    const char **last = ctx;

    (void)kind;
    if (strcasecmp(name, "X-Forwarded-For") == 0 && value != NULL)
        *last = value;
    return MHD_YES;
}

/* One entry of a list, between blanks. */
static int read_entry(const char *entry, size_t len, struct address *out)
{
    char text[INET6_ADDRSTRLEN];

    while (len > 0 && (*entry == ' ' || *entry == '\t'))
        entry++, len--;
    while (len > 0 && (entry[len - 1] == ' ' || entry[len - 1] == '\t'))
        len--;
    if (len == 0 || len >= sizeof(text))
        return -1;
    memcpy(text, entry, len);
    text[len] = '\0';
    bool bare =
        inet_pton(AF_INET, text, out->bytes) == 1 || inet_pton(AF_INET6, text, out->bytes) == 1;
    return bare ? address_read(text, len, out) : -1;
}

/* The rightmost address that is not a trusted proxy's: behind a load balancer our own proxy writes
 * that one's address last, and all the world would be one client. */
static void read_client(struct http_request *request)
{
    const char *list = NULL;
    struct address address;

    if (!read_peer(request))
        return;
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, last_forwarded, &list);
    for (size_t end = list != NULL ? strlen(list) : 0; end > 0;) {
        const char *comma = memrchr(list, ',', end);
        size_t start = comma != NULL ? (size_t)(comma - list) + 1 : 0;
        if (read_entry(list + start, end - start, &address) != 0)
            return;
        /* In one form, so that one client is one to whoever counts. */
        address_text(&address, request->client);
        if (!cidr_contains(request->trusted, &address))
            return;
        end = start > 0 ? start - 1 : 0;
    }
}

static int read_segments(struct http_request *request)
{
    const char *at = request->path;

    while (*at == '/') {
        size_t len = strcspn(at + 1, "/");
        AUTO_FREE char *raw = mem_strndup(at + 1, len);
        if (request->segment_count == HTTP_MAX_SEGMENTS) {
            http_reply_problem(request, PROBLEM_NOT_FOUND, "there is nothing at this path");
            return -1;
        }
        char *segment = http_request_decode(raw);
        if (segment == NULL) {
            http_reply_problem(request, PROBLEM_BAD_REQUEST,
                               "the path has an invalid escape or a control character");
            return -1;
        }
        request->segments[request->segment_count++] = segment;
        at += 1 + len;
    }
    if (*at == '\0' && request->segment_count > 0)
        return 0;
    http_reply_problem(request, PROBLEM_BAD_REQUEST,
                       "the target must be a path that starts with /");
    return -1;
}

static enum MHD_Result add_query(void *ctx, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    struct http_request *request = ctx;
    struct http_pair *pair = &request->query[request->query_count];

    (void)kind;
    if (request->query_count == HTTP_MAX_QUERY) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD, "the query has more than %d parameters",
                           HTTP_MAX_QUERY);
        return MHD_NO;
    }
    request->query_count++;
    pair->name = http_request_decode(name != NULL ? name : "");
    pair->value = http_request_decode(value != NULL ? value : "");
    if (pair->name == NULL || pair->value == NULL) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD,
                           "the query has an invalid escape or a control character");
        return MHD_NO;
    }
    for (size_t i = 0; i + 1 < request->query_count; i++) {
        if (strcmp(request->query[i].name, pair->name) == 0) {
            http_reply_problem(request, PROBLEM_INVALID_FIELD,
                               "the query names %.60s more than once", pair->name);
            return MHD_NO;
        }
    }
    return MHD_YES;
}

struct header_count {
    const char *name;
    size_t count;
};

static enum MHD_Result count_header(void *ctx, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    struct header_count *counter = ctx;

    (void)kind;
    (void)value;
    counter->count += strcasecmp(name, counter->name) == 0 ? 1 : 0;
    return MHD_YES;
}

size_t http_request_count_header(const struct http_request *request, const char *name)
{
    struct header_count counter = {.name = name};

    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, count_header, &counter);
    return counter.count;
}

static int check_framing(struct http_request *request)
{
    static const char *const single[] = {"Content-Length", "Transfer-Encoding", "Host",
                                         "Content-Type",   "Authorization",     "Idempotency-Key"};

    for (size_t i = 0; i < ARRAY_LEN(single); i++) {
        if (http_request_count_header(request, single[i]) > 1) {
            http_reply_problem(request, PROBLEM_BAD_REQUEST, "the header %s stands twice",
                               single[i]);
            return -1;
        }
    }
    const char *coding = http_header(request, "Transfer-Encoding");
    if (coding != NULL && http_header(request, "Content-Length") != NULL) {
        http_reply_problem(request, PROBLEM_BAD_REQUEST,
                           "Content-Length and Transfer-Encoding exclude each other");
        return -1;
    }
    if (coding != NULL && strcasecmp(coding, "chunked") != 0) {
        http_reply_problem(request, PROBLEM_NOT_IMPLEMENTED,
                           "the only Transfer-Encoding offered is chunked");
        return -1;
    }
    return 0;
}

static void check_length(struct http_request *request)
{
    const char *text = http_header(request, "Content-Length");
    size_t max = request->route->max_body;

    if (text == NULL)
        return;
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text)) {
        http_reply_problem(request, PROBLEM_BAD_REQUEST, "Content-Length must be a number");
        return;
    }
    if (strlen(text) > 18 || strtoull(text, NULL, 10) > max)
        http_reply_problem(request, PROBLEM_BODY_TOO_LARGE,
                           "the body may have at most %zu bytes here", max);
}

void http_request_read_head(struct http_request *request)
{
    read_id(request);
    read_client(request);
    if (check_framing(request) != 0)
        return;
    if (strlen(request->path) > HTTP_MAX_TARGET) {
        http_reply_problem(request, PROBLEM_URI_TOO_LONG, "the path may have at most %d bytes",
                           HTTP_MAX_TARGET);
        return;
    }
    if (read_segments(request) != 0)
        return;
    http_route_find(request);
    if (request->response != NULL)
        return;
    MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, add_query, request);
    if (request->response == NULL)
        check_length(request);
}

void http_request_free(struct http_request *request)
{
    for (size_t i = 0; i < request->segment_count; i++)
        free(request->segments[i]);
    for (size_t i = 0; i < request->query_count; i++) {
        free(request->query[i].name);
        free(request->query[i].value);
    }
    for (size_t i = 0; i < request->header_count; i++) {
        free(request->headers[i].name);
        free(request->headers[i].value);
    }
    if (request->response != NULL)
        MHD_destroy_response(request->response);
    json_decref(request->json);
    buf_free(&request->body);
    free(request->path);
    free(request);
}

const char *http_method(const struct http_request *request)
{
    return request->method;
}

const char *http_path(const struct http_request *request)
{
    return request->path;
}

const char *http_param(const struct http_request *request, const char *name)
{
    return http_route_param(request, name);
}

const char *http_query(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->query_count; i++)
        if (strcmp(request->query[i].name, name) == 0)
            return request->query[i].value;
    return NULL;
}

const char *http_header(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *http_request_id(const struct http_request *request)
{
    return request->id;
}

const char *http_client(const struct http_request *request)
{
    return request->client;
}

const char *http_body(const struct http_request *request, size_t *len)
{
    *len = request->body.len;
    return request->body.data != NULL ? request->body.data : "";
}

const char *http_bearer(const struct http_request *request)
{
    static const char token_chars[] =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~+/=";
    const char *value = http_header(request, "Authorization");

    if (value == NULL || strncasecmp(value, "Bearer ", 7) != 0)
        return NULL;
    value += 7 + strspn(value + 7, " ");
    return value[0] != '\0' && strspn(value, token_chars) == strlen(value) ? value : NULL;
}
