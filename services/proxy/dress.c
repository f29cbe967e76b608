/* What a route adds to its answers: its own headers, the security headers and those of CORS. The
 * origin's answer is edited; an answer of the proxy itself only gets what is safe on every one. */
#include "services/proxy/cors.h"
#include "services/proxy/exchange.h"
#include "services/proxy/route.h"

#include <string.h>

struct security_header {
    const char *name, *value;
    bool tls_only;
};

/* Where the origin has its own, that one stands. */
static const struct security_header security_headers[] = {
    {"Strict-Transport-Security", "max-age=31536000", true},
    {"X-Content-Type-Options", "nosniff", false},
    {"X-Frame-Options", "SAMEORIGIN", false},
    {"Content-Security-Policy", "frame-ancestors 'self'", false},
    {"Referrer-Policy", "strict-origin-when-cross-origin", false},
};

static bool has(const struct http1_head *head, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; head && i < head->count; i++)
        if (!head->fields[i].dropped && head->fields[i].name_len == len &&
            strncasecmp(head->base + head->fields[i].name, name, len) == 0)
            return true;
    return false;
}

static bool set_by(const struct added_header *list, const char *name)
{
    for (; list; list = list->next)
        if (strcasecmp(list->name, name) == 0)
            return true;
    return false;
}

static void add_security(struct exchange *exchange, const struct http1_head *head)
{
    for (size_t i = 0; i < ARRAY_LEN(security_headers); i++) {
        union {
            const char *in;
            char *out;
        } value = {.in = security_headers[i].value};

        const char *name = security_headers[i].name;
        if ((security_headers[i].tls_only && !exchange->secure) || has(head, name) ||
            set_by(exchange->response_headers, name))
            continue;
        request_add_response_header(&exchange->request, name,
                                    h2o_iovec_init(value.out, strlen(value.in)));
    }
}

static void edit(struct exchange *exchange, const struct route *route,
                 const struct http1_head *head)
{
    if (head)
        header_edit_drop(&route->response_edit, head);
    for (const struct added_header *header = route->response_edit.added; header;
         header = header->next)
        request_add_response_header(&exchange->request, header->name, header->value);
}

void exchange_dress(struct exchange *exchange, const struct response *response)
{
    const struct route *route = exchange->request.route;
    if (!route || !route->dressed)
        return;
    if (response->head || route->respond.status)
        edit(exchange, route, response->head);
    if (route->security_headers)
        add_security(exchange, response->head);
    if (!route->cors)
        return;
    if (response->head)
        cors_drop(response->head);
    if (exchange->preflight)
        cors_answer_preflight(route->cors, &exchange->request);
    else
        cors_answer(route->cors, &exchange->request);
}
