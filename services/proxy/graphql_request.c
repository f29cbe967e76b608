/* GraphQL as it travels over HTTP (GraphQL over HTTP, working draft): a JSON body, a batch of them,
 * or a query string. */
#include "services/proxy/graphql.h"

#include <string.h>

static bool absent(const json_t *value)
{
    return !value || json_is_null(value);
}

static int weigh_one(const json_t *request, struct graphql_weight *out, struct err *err)
{
    if (!json_is_object(request))
        return err_set(err, "a GraphQL request is a JSON object, or an array of them");
    const json_t *query = json_object_get(request, "query");
    const json_t *name = json_object_get(request, "operationName");
    const json_t *variables = json_object_get(request, "variables");
    if (absent(query))
        return err_set(err, "query is missing: stored queries are not taken here");
    if (!json_is_string(query))
        return err_set(err, "query is not a text");
    if (!absent(name) && !json_is_string(name))
        return err_set(err, "operationName is not a text");
    if (!absent(variables) && !json_is_object(variables))
        return err_set(err, "variables is not an object");
    return graphql_weigh(json_string_value(query), json_string_length(query),
                         absent(name) ? NULL : json_string_value(name),
                         absent(variables) ? NULL : variables, out, err);
}

int graphql_weigh_request(const json_t *request, struct graphql_weight *out, struct err *err)
{
    size_t index;
    const json_t *item;
    if (!json_is_array(request))
        return weigh_one(request, out, err);
    if (json_array_size(request) == 0 || json_array_size(request) > GRAPHQL_BATCH_MAX)
        return err_set(err, "a batch holds 1 to %d requests", GRAPHQL_BATCH_MAX);
    *out = (struct graphql_weight){.kind = GRAPHQL_QUERY};
    json_array_foreach(request, index, item)
    {
        struct graphql_weight one;
        if (weigh_one(item, &one, err))
            return -1;
        if (one.kind != GRAPHQL_QUERY)
            out->kind = one.kind;
        out->cost =
            out->cost + one.cost < GRAPHQL_COST_MAX ? out->cost + one.cost : GRAPHQL_COST_MAX;
        out->depth = one.depth > out->depth ? one.depth : out->depth;
    }
    return 0;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* application/x-www-form-urlencoded; -1: an escape is malformed. */
static int decode(const char *in, size_t len, char *out, size_t *out_len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (in[i] != '%') {
            out[n++] = in[i] == '+' ? ' ' : in[i];
            continue;
        }
        if (len - i < 3 || hex(in[i + 1]) < 0 || hex(in[i + 2]) < 0)
            return -1;
        out[n++] = (char)(hex(in[i + 1]) * 16 + hex(in[i + 2]));
        i += 2;
    }
    out[n] = '\0';
    *out_len = n;
    return 0;
}

/* A parameter of the query as a JSON text or value in `request`. */
static int take(json_t *request, const char *key, const char *text, size_t len, struct err *err)
{
    struct err why;
    json_t *value = NULL;
    if (json_object_get(request, key))
        return err_set(err, "%s is there twice", key);
    if (strcmp(key, "variables") == 0) {
        if (json_parse(text, len, &value, &why))
            return err_set(err, "variables: %s", why.msg);
    } else if (memchr(text, '\0', len) || !(value = json_stringn(text, len))) {
        return err_set(err, "%s is not UTF-8", key);
    }
    json_object_set_new(request, key, value);
    return 0;
}

/* What some server may take for one of the keys: there are those that cut blanks before a name off,
 * and what follows a bracket, a dot or a NUL in it. NULL: none. */
static const char *key_like(const char *name)
{
    static const char *const keys[] = {"query", "operationName", "variables", "extensions"};
    name += strspn(name, " \t\r\n");
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        size_t len = strlen(keys[i]);
        if (strncmp(name, keys[i], len) == 0 && memchr("[. ", name[len], 4))
            return keys[i];
    }
    return NULL;
}

struct parameter {
    const char *key; /* that it may be taken for; NULL: another */
    const char *value;
    size_t value_len;
    bool plain; /* it is that key */
};

/* Takes the next parameter off a query; `text` has room for its name. */
static int next_parameter(const char **at, const char *end, char *text, struct parameter *out,
                          struct err *err)
{
    const char *stop = memchr(*at, '&', (size_t)(end - *at));
    const char *next = stop ? stop + 1 : end;
    size_t n;
    stop = stop ? stop : end;
    const char *equals = memchr(*at, '=', (size_t)(stop - *at));
    const char *name_end = equals ? equals : stop;
    if (memchr(*at, ';', (size_t)(stop - *at)))
        return err_set(err, "the query string holds a semicolon, which separates to some servers");
    if (decode(*at, (size_t)(name_end - *at), text, &n))
        return err_set(err, "the query string holds a malformed escape");
    out->value = equals ? equals + 1 : stop;
    out->value_len = (size_t)(stop - out->value);
    out->key = key_like(text);
    out->plain = out->key && n == strlen(out->key);
    *at = next;
    return 0;
}

int graphql_weigh_query(const char *query, size_t len, struct graphql_weight *out, struct err *err)
{
    AUTO_JSON json_t *request = json_object();
    AUTO_FREE char *text = mem_alloc(len + 1);
    const char *end = query + len;
    for (const char *at = query; at < end;) {
        struct parameter parameter;
        size_t n;
        if (next_parameter(&at, end, text, &parameter, err))
            return -1;
        if (!parameter.key || strcmp(parameter.key, "extensions") == 0)
            continue;
        if (!parameter.plain)
            return err_set(err, "%s can be read in two ways", parameter.key);
        if (decode(parameter.value, parameter.value_len, text, &n))
            return err_set(err, "the query string holds a malformed escape");
        if (take(request, parameter.key, text, n, err))
            return -1;
    }
    if (weigh_one(request, out, err))
        return -1;
    if (out->kind != GRAPHQL_QUERY)
        return err_set(err, "only queries may be sent by GET");
    return 0;
}

int graphql_check_beside(const char *query, size_t len, struct err *err)
{
    AUTO_FREE char *text = mem_alloc(len + 1);
    const char *end = query + len;
    for (const char *at = query; at < end;) {
        struct parameter parameter;
        if (next_parameter(&at, end, text, &parameter, err))
            return -1;
        if (parameter.key)
            return err_set(err, "%s stands in the query string, beside a body", parameter.key);
    }
    return 0;
}
