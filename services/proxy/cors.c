/* Answers browsers' cross-origin questions from what a route allows. */
#include "services/proxy/cors.h"

#include "libcommon/buf.h"
#include "services/proxy/exchange.h"

#include <ctype.h>
#include <string.h>

struct cors {
    bool any; /* origins: [*] */
    bool credentials;
    char **origins; /* sorted */
    size_t origin_count;
    h2o_iovec_t methods, headers, expose, max_age; /* owned; expose may be empty */
};

static const char prefix[] = "access-control-";

static int compare(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;
    return strcmp(*left, *right);
}

static h2o_iovec_t text_of(struct buf *buf)
{
    size_t len = buf->len;
    return h2o_iovec_init(buf_steal(buf), len);
}

static int join(const struct config_list *list, const char *otherwise, const char *what,
                h2o_iovec_t *out, struct err *err)
{
    AUTO_BUF struct buf text = {0};
    const char *const *items = list->items;
    for (size_t i = 0; i < list->count; i++) {
        if (!http1_is_token(items[i], strlen(items[i])))
            return err_set(err, "cors.%s: %s is not a token", what, items[i]);
        buf_printf(&text, "%s%s", i ? ", " : "", items[i]);
    }
    if (list->count == 0)
        buf_puts(&text, otherwise);
    *out = text_of(&text);
    return 0;
}

/* As browsers write it: scheme://host or scheme://host:port, in lower case. */
static bool is_origin(const char *text)
{
    const char *host = strstr(text, "://");
    if (!host || host == text || host[3] == '\0')
        return false;
    for (const char *c = text; *c; c++)
        if (*c <= 0x20 || *c >= 0x7f || strchr("*?#@\\,;\"", *c) || (c >= host + 3 && *c == '/') ||
            isupper((unsigned char)*c))
            return false;
    return true;
}

static int set_origins(struct cors *cors, const struct config_list *list, struct err *err)
{
    const char *const *items = list->items;
    cors->origins = mem_array(list->count, sizeof(*cors->origins));
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(items[i], "*") == 0) {
            cors->any = true;
            continue;
        }
        if (!is_origin(items[i]))
            return err_set(err, "cors.origins: %s is not *, nor scheme://host in lower case",
                           items[i]);
        cors->origins[cors->origin_count++] = mem_strdup(items[i]);
    }
    if (cors->any && list->count > 1)
        return err_set(err, "cors.origins: * stands alone");
    if (cors->any && cors->credentials)
        return err_set(err, "cors.credentials does not go with origins: [\"*\"]: any page could "
                            "act for the user");
    qsort(cors->origins, cors->origin_count, sizeof(*cors->origins), compare);
    return 0;
}

int cors_new(const struct cors_config *config, struct cors **out, struct err *err)
{
    AUTO_BUF struct buf age = {0};
    struct cors *cors = mem_zalloc(sizeof(*cors));
    *out = cors;
    cors->credentials = config->credentials;
    buf_printf(&age, "%lld", (long long)(config->max_age / 1000));
    cors->max_age = text_of(&age);
    if (set_origins(cors, &config->origins, err) ||
        join(&config->methods, "GET, HEAD, POST", "methods", &cors->methods, err) ||
        join(&config->headers, "Authorization, Content-Type", "headers", &cors->headers, err) ||
        join(&config->expose, "", "expose", &cors->expose, err)) {
        cors_free(out);
        return -1;
    }
    return 0;
}

void cors_free(struct cors **cors)
{
    if (!*cors)
        return;
    for (size_t i = 0; i < (*cors)->origin_count; i++)
        free((*cors)->origins[i]);
    free((*cors)->origins);
    free((*cors)->methods.base);
    free((*cors)->headers.base);
    free((*cors)->expose.base);
    free((*cors)->max_age.base);
    free(*cors);
    *cors = NULL;
}

bool cors_is_preflight(const struct request *request)
{
    const struct exchange *exchange = request->exchange;
    return h2o_memis(exchange->method.base, exchange->method.len, "OPTIONS", 7) &&
           request_header(request, "origin", NULL).base &&
           request_header(request, "access-control-request-method", NULL).base;
}

static bool allowed(const struct cors *cors, h2o_iovec_t origin)
{
    size_t low = 0, high = cors->origin_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const char *text = cors->origins[middle];
        size_t len = strlen(text);
        int order = memcmp(text, origin.base, len < origin.len ? len : origin.len);
        if (order == 0 && len == origin.len)
            return true;
        if (order < 0 || (order == 0 && len < origin.len))
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static void add(struct request *request, const char *name, h2o_iovec_t value)
{
    request_add_response_header(request, name, value);
}

static h2o_iovec_t literal(const char *text)
{
    union {
        const char *in;
        char *out;
    } value = {.in = text};

    return h2o_iovec_init(value.out, strlen(text));
}

/* False: this page's script may not; the answer says nothing then, and the browser keeps it. */
static bool admit(const struct cors *cors, struct request *request)
{
    size_t count;
    h2o_iovec_t origin = request_header(request, "origin", &count);
    if (cors->any) {
        add(request, "Access-Control-Allow-Origin", literal("*"));
        return true;
    }
    add(request, "Vary", literal("Origin"));
    if (count != 1 || !allowed(cors, origin))
        return false;
    add(request, "Access-Control-Allow-Origin", origin);
    if (cors->credentials)
        add(request, "Access-Control-Allow-Credentials", literal("true"));
    return true;
}

void cors_answer_preflight(const struct cors *cors, struct request *request)
{
    if (!admit(cors, request))
        return;
    add(request, "Access-Control-Allow-Methods", cors->methods);
    add(request, "Access-Control-Allow-Headers", cors->headers);
    add(request, "Access-Control-Max-Age", cors->max_age);
}

void cors_answer(const struct cors *cors, struct request *request)
{
    if (admit(cors, request) && cors->expose.len)
        add(request, "Access-Control-Expose-Headers", cors->expose);
}

void cors_drop(const struct http1_head *head)
{
    for (size_t i = 0; i < head->count; i++)
        if (head->fields[i].name_len > sizeof(prefix) - 1 &&
            strncasecmp(head->base + head->fields[i].name, prefix, sizeof(prefix) - 1) == 0)
            head->fields[i].dropped = true;
}
