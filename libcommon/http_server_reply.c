/* Owns the answers: one for each request, with the headers that all of them carry, and the promise
 * of Idempotency-Key that the first answer is the only one. */
#include "libcommon/http_server_request.h"

#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static void add(struct MHD_Response *response, const char *name, const char *value)
{
    if (MHD_add_response_header(response, name, value) != MHD_YES)
        abort(); /* memory, or a header value that our own code must not make */
}

static bool has_header(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->headers[i].name, name) == 0)
            return true;
    return false;
}

static void add_headers(struct http_request *request, const char *type, bool no_store)
{
    struct MHD_Response *response = request->response;

    if (type != NULL)
        add(response, "Content-Type", type);
    add(response, "X-Request-Id", request->id);
    add(response, "X-Content-Type-Options", "nosniff");
    if (no_store && !has_header(request, "Cache-Control"))
        add(response, "Cache-Control", "no-store");
    if (request->cors) {
        add(response, "Access-Control-Allow-Origin", "*");
        add(response, "Access-Control-Expose-Headers",
            "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate, Location");
    }
    for (size_t i = 0; i < request->header_count; i++)
        add(response, request->headers[i].name, request->headers[i].value);
}

/* Takes `body`, which malloc made. */
static void reply(struct http_request *request, unsigned status, const char *type, char *body,
                  size_t len, bool no_store)
{
    bool store = no_store || (request->route != NULL && request->route->flags & HTTP_NO_STORE);

    if (request->response != NULL) {
        free(body); /* the first answer stands */
        return;
    }
    request->response = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
    if (request->response == NULL)
        abort();
    request->status = status;
    add_headers(request, type, store);
}

/* What a later request with the same key will get; `again` where it should be done anew. */
static void keep(struct http_request *request, unsigned status, const char *body, size_t len,
                 bool again)
{
    const struct http_store *store = request->options->store;

    if (!request->claimed)
        return;
    request->claimed = false;
    store->finish(store->ctx, request->idempotency_key, request->fingerprint, again ? 503 : status,
                  body, len);
}

static char *copy_bytes(const char *data, size_t len)
{
    char *copy = mem_alloc(len + 1);

    if (len > 0)
        memcpy(copy, data, len);
    copy[len] = '\0';
    return copy;
}

void http_reply_json(struct http_request *request, unsigned status, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);

    json_decref(body);
    if (text == NULL) {
        http_reply_problem(request, PROBLEM_INTERNAL, NULL);
        return;
    }
    size_t len = strlen(text);
    keep(request, status, text, len, false);
    reply(request, status, "application/json", text, len, false);
}

void http_reply_text(struct http_request *request, unsigned status, const char *type,
                     const char *body, size_t len)
{
    keep(request, status, body, len, false);
    reply(request, status, type, copy_bytes(body, len), len, false);
}

static void problem_headers(struct http_request *request, const struct problem_desc *desc)
{
    if ((desc->status == 429 || desc->status == 503) && !has_header(request, "Retry-After"))
        http_reply_header(request, "Retry-After", "1");
    if (desc->status == 401 && !has_header(request, "WWW-Authenticate"))
        http_reply_header(request, "WWW-Authenticate", "Bearer");
}

static void send_problem(struct http_request *request, enum problem problem, const char *detail)
{
    const struct problem_desc *desc = problem_get(problem);
    struct buf body = {0};

    if (request->response != NULL)
        return;
    problem_headers(request, desc);
    problem_body(&body, problem, detail, request->id);
    size_t len = body.len;
    char *text = buf_steal(&body);
    keep(request, desc->status, text, len, desc->retryable);
    reply(request, desc->status, "application/problem+json", text, len, true);
}

void http_reply_problem(struct http_request *request, enum problem problem, const char *detail, ...)
{
    char text[512];
    va_list args;

    if (detail == NULL) {
        send_problem(request, problem, NULL);
        return;
    }
    va_start(args, detail);
    vsnprintf(text, sizeof(text), detail, args);
    va_end(args);
    send_problem(request, problem, text);
}

/* Visible ASCII and spaces: what could end a header line never comes through. */
static bool sane_value(const char *value)
{
    for (; *value != '\0'; value++)
        if ((unsigned char)*value < 0x20 || *value == 0x7f)
            return false;
    return true;
}

void http_reply_header(struct http_request *request, const char *name, const char *value)
{
    if (request->header_count == HTTP_MAX_HEADERS || !sane_value(value))
        return;
    request->headers[request->header_count++] =
        (struct http_pair){.name = mem_strdup(name), .value = mem_strdup(value)};
}

bool http_replied(const struct http_request *request)
{
    return request->response != NULL;
}

/* SHA-256 in hex over the parts, each with its NUL, and then the tail. */
static void digest(const char *const *parts, size_t count, const char *tail, size_t len,
                   char out[HTTP_HEX_LEN + 1])
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *md = EVP_MD_CTX_new();

    if (md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
        abort();
    for (size_t i = 0; i < count; i++)
        EVP_DigestUpdate(md, parts[i], strlen(parts[i]) + 1);
    EVP_DigestUpdate(md, tail, len);
    EVP_DigestFinal_ex(md, hash, NULL);
    EVP_MD_CTX_free(md);
    for (size_t i = 0; i < HTTP_HEX_LEN / 2; i++)
        snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

static bool sane_key(const char *key)
{
    size_t len = strnlen(key, 256);

    if (len == 0 || len > 255)
        return false;
    for (size_t i = 0; i < len; i++)
        if (key[i] < 0x21 || key[i] > 0x7e)
            return false;
    return true;
}

static void replay(struct http_request *request, unsigned status, struct buf *body)
{
    size_t len = body->len;
    const char *type = status >= 400 ? "application/problem+json" : "application/json";

    http_reply_header(request, "Idempotent-Replayed", "true");
    reply(request, status, type, buf_steal(body), len, status >= 400);
}

static bool claim(struct http_request *request)
{
    const struct http_store *store = request->options->store;
    AUTO_BUF struct buf body = {0};
    unsigned status = 0;

    switch (
        store->claim(store->ctx, request->idempotency_key, request->fingerprint, &status, &body)) {
    case HTTP_STORE_NEW:
        request->claimed = true;
        return true;
    case HTTP_STORE_REPLAY:
        replay(request, status, &body);
        break;
    case HTTP_STORE_BUSY:
        http_reply_header(request, "Retry-After", "1");
        http_reply_problem(request, PROBLEM_REQUEST_UNDER_WAY,
                           "a request with this Idempotency-Key is under way");
        break;
    case HTTP_STORE_MISMATCH:
        http_reply_problem(request, PROBLEM_IDEMPOTENCY_MISMATCH,
                           "the path, the query or the body differ from the first request");
        break;
    case HTTP_STORE_ERROR:
        http_reply_header(request, "Retry-After", "1");
        http_reply_problem(request, PROBLEM_UNAVAILABLE,
                           "Idempotency-Key cannot be honoured at the moment");
        break;
    }
    return false;
}

/* Path and query belong to the fingerprint: one key never replays what was done to another thing.
 */
static void fingerprint(struct http_request *request)
{
    const char *parts[1 + 2 * HTTP_MAX_QUERY] = {request->path};
    size_t count = 1;
    size_t len;
    const char *body = http_body(request, &len);

    for (size_t i = 0; i < request->query_count; i++) {
        parts[count++] = request->query[i].name;
        parts[count++] = request->query[i].value;
    }
    digest(parts, count, body, len, request->fingerprint);
}

bool http_idempotent_begin(struct http_request *request, const char *scope)
{
    const char *key = http_header(request, "Idempotency-Key");

    if (key == NULL || request->options->store == NULL ||
        (request->route->flags & HTTP_IDEMPOTENT) == 0)
        return true;
    if (!sane_key(key)) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD,
                           "Idempotency-Key must be 1 to 255 visible ASCII characters");
        return false;
    }
    const char *parts[] = {request->route->method, request->route->path, scope, key};
    digest(parts, ARRAY_LEN(parts), "", 0, request->idempotency_key);
    fingerprint(request);
    return claim(request);
}
