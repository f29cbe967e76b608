/* Owns the choice of a route: whole segments against a table, in the table's order, and what is
 * said where the path exists and the method does not. */
#include "libcommon/http_server_request.h"

#include <string.h>

/* The next segment of a route's path ("/a/{b}"), at *at; false at its end. */
static bool next_segment(const char **at, const char **segment, size_t *len)
{
    if (**at != '/')
        return false;
    *segment = *at + 1;
    *len = strcspn(*segment, "/");
    *at = *segment + *len;
    return true;
}

static bool is_param(const char *segment, size_t len)
{
    return len > 2 && segment[0] == '{' && segment[len - 1] == '}';
}

static bool path_matches(const struct http_route *route, const struct http_request *request)
{
    const char *at = route->path;
    const char *segment;
    size_t len;
    size_t i = 0;

    for (; next_segment(&at, &segment, &len); i++) {
        if (i >= request->segment_count)
            return false;
        const char *have = request->segments[i];
        bool same = strlen(have) == len && memcmp(have, segment, len) == 0;
        if (is_param(segment, len) ? have[0] == '\0' : !same)
            return false;
    }
    return i == request->segment_count;
}

static bool method_matches(const char *offered, const char *asked)
{
    return strcmp(offered, asked) == 0 ||
           (strcmp(offered, "GET") == 0 && strcmp(asked, "HEAD") == 0);
}

static void allow(struct buf *methods, const char *method)
{
    buf_printf(methods, "%s%s", methods->len > 0 ? ", " : "", method);
    if (strcmp(method, "GET") == 0)
        buf_puts(methods, ", HEAD");
}

static void answer_options(struct http_request *request, const char *methods)
{
    if (request->cors) {
        http_reply_header(request, "Access-Control-Allow-Methods", methods);
        http_reply_header(request, "Access-Control-Allow-Headers",
                          "Authorization, Content-Type, Idempotency-Key, X-Request-Id");
        http_reply_header(request, "Access-Control-Max-Age", "600");
    }
    http_reply_text(request, 204, NULL, "", 0);
}

/* True: a handler of the server's owner answers. */
static bool hand_over(struct http_request *request, enum problem problem)
{
    request->unmatched = problem;
    request->route = request->options->unmatched;
    return request->route != NULL;
}

enum problem http_unmatched(const struct http_request *request)
{
    return request->unmatched;
}

void http_route_find(struct http_request *request)
{
    AUTO_BUF struct buf methods = {0};

    for (size_t i = 0; i < request->options->route_count; i++) {
        const struct http_route *route = &request->options->routes[i];
        if (!path_matches(route, request))
            continue;
        request->cors = request->cors || (route->flags & HTTP_CORS) != 0;
        if (request->route == NULL && method_matches(route->method, request->method))
            request->route = route;
        allow(&methods, route->method);
    }
    if (request->route != NULL)
        return;
    if (methods.len == 0) {
        if (!hand_over(request, PROBLEM_NOT_FOUND))
            http_reply_problem(request, PROBLEM_NOT_FOUND, "there is nothing at this path");
        return;
    }
    buf_puts(&methods, ", OPTIONS");
    http_reply_header(request, "Allow", methods.data);
    if (strcmp(request->method, "OPTIONS") == 0)
        answer_options(request, methods.data);
    else if (!hand_over(request, PROBLEM_METHOD_NOT_ALLOWED))
        http_reply_problem(request, PROBLEM_METHOD_NOT_ALLOWED, "this path answers %s",
                           methods.data);
}

const char *http_route_param(const struct http_request *request, const char *name)
{
    const char *at = request->route != NULL ? request->route->path : "";
    const char *segment;
    size_t len;

    for (size_t i = 0; next_segment(&at, &segment, &len); i++)
        if (is_param(segment, len) && strlen(name) == len - 2 &&
            memcmp(segment + 1, name, len - 2) == 0)
            return request->segments[i];
    return NULL;
}
