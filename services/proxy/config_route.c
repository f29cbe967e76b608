/* The table of routes, and the checks that a table cannot say. */
#include "services/proxy/config.h"

#include "services/proxy/path.h"
#include "services/proxy/route.h"

#include "libcommon/mem.h"

#include <string.h>

static const struct config_field limits_fields[] = {
    CONFIG_FIELD(struct route_limits_config, body_bytes, "body_bytes", CONFIG_SIZE,
                 .required = true, .min = 0, .max = INT64_MAX,
                 .doc = "a request's body; 0: no limit"),
};
static const struct config_schema limits_schema = {.name = "route limits",
                                                   .size = sizeof(struct route_limits_config),
                                                   .fields = limits_fields,
                                                   .count = ARRAY_LEN(limits_fields)};

static const struct config_field timeouts_fields[] = {
    CONFIG_TIMEOUT(struct route_timeouts_config, connect, 0, "0s", "0s: the pool's"),
    CONFIG_TIMEOUT(struct route_timeouts_config, response_head, 0, "0s", "0s: the pool's"),
    CONFIG_TIMEOUT(struct route_timeouts_config, body_idle, 0, "0s", "0s: the pool's"),
    CONFIG_TIMEOUT(struct route_timeouts_config, request, 0, "0s", "0s: the general one"),
};
static const struct config_schema timeouts_schema = {.name = "route timeouts",
                                                     .size = sizeof(struct route_timeouts_config),
                                                     .fields = timeouts_fields,
                                                     .count = ARRAY_LEN(timeouts_fields)};

static const struct config_field retry_fields[] = {
    CONFIG_FIELD(struct route_retry_config, attempts, "attempts", CONFIG_INT, .required = true,
                 .min = 1, .max = 10, .doc = "how often a request is tried in all, as in a pool"),
};
static const struct config_schema retry_schema = {.name = "route retry",
                                                  .size = sizeof(struct route_retry_config),
                                                  .fields = retry_fields,
                                                  .count = ARRAY_LEN(retry_fields)};

static const struct config_field header_fields[] = {
    CONFIG_FIELD(struct header_config, value, "value", CONFIG_STRING, .fallback = "", .max = 4096,
                 .doc = "what the header says"),
};
static const struct config_schema header_schema = {.name = "header",
                                                   .size = sizeof(struct header_config),
                                                   .fields = header_fields,
                                                   .count = ARRAY_LEN(header_fields),
                                                   .scalar_field = "value"};
static const struct config_field header_edit_fields[] = {
    CONFIG_FIELD(struct header_edit_config, set, "set", CONFIG_MAP, .max = 64,
                 .section = &header_schema, .doc = "headers that replace those of the same name"),
    CONFIG_FIELD(struct header_edit_config, remove, "remove", CONFIG_STRINGS, .max = 64,
                 .doc = "names of headers that are taken away"),
};
static const struct config_schema header_edit_schema = {.name = "headers",
                                                        .size = sizeof(struct header_edit_config),
                                                        .fields = header_edit_fields,
                                                        .count = ARRAY_LEN(header_edit_fields)};

static const struct config_field cors_fields[] = {
    CONFIG_FIELD(struct cors_config, origins, "origins", CONFIG_STRINGS, .required = true, .min = 1,
                 .max = 1000, .doc = "https://app.example.com, or *"),
    CONFIG_FIELD(struct cors_config, methods, "methods", CONFIG_STRINGS, .max = 32,
                 .doc = "methods that scripts may use; none: GET, HEAD, POST"),
    CONFIG_FIELD(struct cors_config, headers, "headers", CONFIG_STRINGS, .max = 64,
                 .doc = "request headers that scripts may set; none: Authorization, Content-Type"),
    CONFIG_FIELD(struct cors_config, expose, "expose", CONFIG_STRINGS, .max = 64,
                 .doc = "response headers that scripts may read"),
    CONFIG_FIELD(struct cors_config, credentials, "credentials", CONFIG_BOOL, .fallback = "false",
                 .doc = "cookies may be sent; not with origins: [*]"),
    CONFIG_TIMEOUT(struct cors_config, max_age, 0, "10m", "how long browsers keep a preflight"),
};
static const struct config_schema cors_schema = {.name = "cors",
                                                 .size = sizeof(struct cors_config),
                                                 .fields = cors_fields,
                                                 .count = ARRAY_LEN(cors_fields)};

static const struct config_field graphql_fields[] = {
    CONFIG_FIELD(struct graphql_config, max_cost, "max_cost", CONFIG_INT, .fallback = "1000",
                 .min = 1, .max = 1000000000, .doc = "a query that weighs more is refused"),
    CONFIG_FIELD(struct graphql_config, max_depth, "max_depth", CONFIG_INT, .fallback = "12",
                 .min = 1, .max = 100, .doc = "a query that is nested deeper is refused"),
};
static const struct config_schema graphql_schema = {.name = "graphql",
                                                    .size = sizeof(struct graphql_config),
                                                    .fields = graphql_fields,
                                                    .count = ARRAY_LEN(graphql_fields)};

static int redirect_check(void *section, struct err *err)
{
    const struct redirect_config *redirect = section;
    switch (redirect->status) {
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
        break;
    default:
        return err_set(err, "redirect.status is 301, 302, 303, 307 or 308");
    }
    for (const char *c = redirect->to; *c; c++)
        if (*c <= 0x20 || *c >= 0x7f)
            return err_set(err, "redirect.to holds a blank or a control character");
    return 0;
}

static const struct config_field redirect_fields[] = {
    CONFIG_FIELD(struct redirect_config, to, "to", CONFIG_STRING, .required = true,
                 .doc = "where to; without a path of its own the request's is appended"),
    CONFIG_FIELD(struct redirect_config, status, "status", CONFIG_INT, .fallback = "301",
                 .min = 301, .max = 308, .doc = "301, 302, 303, 307 or 308"),
};
static const struct config_schema redirect_schema = {.name = "redirect",
                                                     .size = sizeof(struct redirect_config),
                                                     .fields = redirect_fields,
                                                     .count = ARRAY_LEN(redirect_fields),
                                                     .check = redirect_check};

static const struct config_field respond_fields[] = {
    CONFIG_FIELD(struct respond_config, status, "status", CONFIG_INT, .fallback = "200", .min = 200,
                 .max = 599, .doc = "of the answer"),
    CONFIG_FIELD(struct respond_config, body, "body", CONFIG_STRING, .fallback = "", .max = 65536,
                 .doc = "of the answer"),
    CONFIG_FIELD(struct respond_config, content_type, "content_type", CONFIG_STRING,
                 .fallback = "text/plain; charset=utf-8", .max = 256, .doc = "of the answer"),
};
static const struct config_schema respond_schema = {.name = "respond",
                                                    .size = sizeof(struct respond_config),
                                                    .fields = respond_fields,
                                                    .count = ARRAY_LEN(respond_fields)};

static int set_protocols(struct route_config *route, struct err *err)
{
    const char *const *words = route->protocols.items;
    for (size_t i = 0; i < route->protocols.count; i++) {
        if (strcmp(words[i], "http") == 0)
            route->protocol_set |= PROTOCOL_HTTP;
        else if (strcmp(words[i], "websocket") == 0)
            route->protocol_set |= PROTOCOL_WEBSOCKET;
        else if (strcmp(words[i], "sse") == 0)
            route->protocol_set |= PROTOCOL_SSE;
        else
            return err_set(err, "route.protocols holds http, websocket and sse, not %s", words[i]);
    }
    if (route->protocols.count == 0)
        route->protocol_set = PROTOCOL_HTTP;
    return 0;
}

static int check_rewrite(const struct route_config *route, struct err *err)
{
    char normal[1024 + 1];
    size_t len = strlen(route->prefix_rewrite), normal_len;
    if (len == 0)
        return 0;
    if (route->strip_prefix)
        return err_set(err, "route.strip_prefix and route.prefix_rewrite exclude each other");
    if (route->pool[0] == '\0')
        return err_set(err, "route.prefix_rewrite belongs to a route with a pool");
    if (route->prefix_rewrite[0] != '/')
        return err_set(err, "route.prefix_rewrite begins with a slash");
    for (const char *c = route->prefix_rewrite; *c; c++)
        if (*c <= 0x20 || *c >= 0x7f || *c == '?' || *c == '#')
            return err_set(err, "route.prefix_rewrite holds a character that a path cannot have");
    const char *why =
        path_normalize(h2o_iovec_init(route->prefix_rewrite, len), normal, &normal_len);
    if (why)
        return err_set(err, "route.prefix_rewrite: %s", why);
    if (normal_len != len || memcmp(normal, route->prefix_rewrite, len) != 0)
        return err_set(err, "route.prefix_rewrite is not in normal form: write %.*s",
                       (int)normal_len, normal);
    return 0;
}

static int route_check(void *section, struct err *err)
{
    struct route_config *route = section;
    bool sold = route->access == ROUTE_SUBSCRIPTION;
    int answers = (route->pool[0] != '\0') + (route->redirect != NULL) + (route->respond != NULL);
    if (route->path[0] != '/')
        return err_set(err, "route.path begins with a slash");
    if (answers != 1)
        return err_set(err, "a route has one of pool, redirect and respond");
    if (sold != (route->service[0] != '\0'))
        return err_set(err, "route.service belongs to access: subscription, and only there");
    if (set_protocols(route, err) || check_rewrite(route, err))
        return -1;
    if (route->graphql && (route->protocol_set & PROTOCOL_WEBSOCKET))
        return err_set(err, "a route with graphql takes no websocket: what comes there cannot be "
                            "weighed");
    return 0;
}

static const char *const access_words[] = {"public", "subscription", NULL};
static const struct config_field route_fields[] = {
    CONFIG_FIELD(struct route_config, host, "host", CONFIG_STRING, .fallback = "",
                 .doc = "api.example.com, *.example.com, or empty for any"),
    CONFIG_FIELD(struct route_config, path, "path", CONFIG_STRING, .fallback = "/",
                 .doc = "prefix, at a segment boundary"),
    CONFIG_FIELD(struct route_config, pool, "pool", CONFIG_STRING, .fallback = "",
                 .doc = "where requests go"),
    CONFIG_FIELD(struct route_config, access, "access", CONFIG_ENUM, .fallback = "public",
                 .words = access_words, .doc = "who may use it"),
    CONFIG_FIELD(struct route_config, service, "service", CONFIG_STRING, .fallback = "",
                 .doc = "name of the service that is sold here"),
    CONFIG_FIELD(struct route_config, protocols, "protocols", CONFIG_STRINGS, .max = 3,
                 .doc = "http, websocket, sse; none: http"),
    CONFIG_FIELD(struct route_config, strip_prefix, "strip_prefix", CONFIG_BOOL,
                 .fallback = "false", .doc = "the origin sees the path without the prefix"),
    CONFIG_FIELD(struct route_config, prefix_rewrite, "prefix_rewrite", CONFIG_STRING,
                 .fallback = "", .max = 1024,
                 .doc = "a path that the origin sees instead of the prefix"),
    CONFIG_FIELD(struct route_config, host_rewrite, "host_rewrite", CONFIG_STRING,
                 .fallback = "false", .max = 253,
                 .doc = "true: the origin sees its own address as Host; or the name it sees"),
    CONFIG_FIELD(struct route_config, https_only, "https_only", CONFIG_BOOL, .fallback = "false",
                 .doc = "cleartext requests are redirected to https (308)"),
    CONFIG_FIELD(struct route_config, security_headers, "security_headers", CONFIG_BOOL,
                 .fallback = "false", .doc = "adds the usual ones where the origin has none"),
    CONFIG_FIELD(struct route_config, access_token_query, "access_token_query", CONFIG_BOOL,
                 .fallback = "false",
                 .doc = "the token may stand in the query as access_token; it is never logged"),
    CONFIG_FIELD(struct route_config, rate_per_ip, "rate_per_ip", CONFIG_RATE, .fallback = "0",
                 .max = 1000000, .doc = "requests of one client address; 0: no limit"),
    CONFIG_FIELD(struct route_config, burst_per_ip, "burst_per_ip", CONFIG_INT, .fallback = "0",
                 .min = 0, .max = 1000000, .doc = "how many at once; 0: a second's worth"),
    CONFIG_FIELD(struct route_config, request_headers, "request_headers", CONFIG_SECTION,
                 .section = &header_edit_schema, .doc = "changes to what the origin sees"),
    CONFIG_FIELD(struct route_config, response_headers, "response_headers", CONFIG_SECTION,
                 .section = &header_edit_schema, .doc = "changes to what the client sees"),
    CONFIG_FIELD(struct route_config, cors, "cors", CONFIG_OPTIONAL, .section = &cors_schema,
                 .doc = "which pages' scripts may use it"),
    CONFIG_FIELD(struct route_config, graphql, "graphql", CONFIG_OPTIONAL,
                 .section = &graphql_schema, .doc = "requests are GraphQL, and are weighed"),
    CONFIG_FIELD(struct route_config, limits, "limits", CONFIG_OPTIONAL, .section = &limits_schema,
                 .doc = "instead of the general limits"),
    CONFIG_FIELD(struct route_config, timeouts, "timeouts", CONFIG_SECTION,
                 .section = &timeouts_schema, .doc = "instead of the pool's"),
    CONFIG_FIELD(struct route_config, retry, "retry", CONFIG_OPTIONAL, .section = &retry_schema,
                 .doc = "instead of the pool's"),
    CONFIG_FIELD(struct route_config, redirect, "redirect", CONFIG_OPTIONAL,
                 .section = &redirect_schema, .doc = "answer with a redirection"),
    CONFIG_FIELD(struct route_config, respond, "respond", CONFIG_OPTIONAL,
                 .section = &respond_schema, .doc = "answer with a fixed text"),
};
const struct config_schema route_config_schema = {.name = "route",
                                                  .size = sizeof(struct route_config),
                                                  .fields = route_fields,
                                                  .count = ARRAY_LEN(route_fields),
                                                  .check = route_check};
