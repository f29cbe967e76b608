/* Owns the reading of JSON bodies for handlers: each helper either gives a checked value, or has
 * already sent the refusal that names the field and the rule. */
#include "libcommon/http_server_request.h"
#include "libcommon/json.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

/* application/json, with no parameter but charset=utf-8. */
static bool is_json_type(const char *type)
{
    static const char json[] = "application/json";
    static const char charset[] = "charset=utf-8";

    if (strncasecmp(type, json, sizeof(json) - 1) != 0)
        return false;
    type += sizeof(json) - 1;
    type += strspn(type, " \t");
    if (*type == '\0')
        return true;
    if (*type != ';')
        return false;
    type += 1 + strspn(type + 1, " \t");
    return strcasecmp(type, charset) == 0 || strcasecmp(type, "charset=\"utf-8\"") == 0;
}

json_t *http_json_object(struct http_request *request)
{
    const char *type = http_header(request, "Content-Type");
    struct err err = {{0}};

    if (request->json != NULL)
        return request->json;
    if (type == NULL || !is_json_type(type)) {
        http_reply_problem(request, PROBLEM_UNSUPPORTED_MEDIA_TYPE,
                           "Content-Type must be application/json");
        return NULL;
    }
    size_t len;
    const char *body = http_body(request, &len);
    if (json_parse(body, len, &request->json, &err) != 0) {
        http_reply_problem(request, PROBLEM_BAD_REQUEST, "the body is not valid JSON: %s", err.msg);
        return NULL;
    }
    if (!json_is_object(request->json)) {
        json_decref(request->json);
        request->json = NULL;
        http_reply_problem(request, PROBLEM_BAD_REQUEST, "the body must be a JSON object");
        return NULL;
    }
    return request->json;
}

static bool has_control(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return true;
    return false;
}

static json_t *required(struct http_request *request, json_t *object, const char *field)
{
    json_t *value = json_object_get(object, field);

    if (value == NULL)
        http_reply_problem(request, PROBLEM_INVALID_FIELD, "%s: is missing", field);
    return value;
}

const char *http_json_string(struct http_request *request, json_t *object, const char *field,
                             size_t max)
{
    const json_t *value = required(request, object, field);

    if (value == NULL)
        return NULL;
    if (!json_is_string(value)) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD, "%s: must be a string", field);
        return NULL;
    }
    size_t len = json_string_length(value);
    if (len > max) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD, "%s: may have at most %zu bytes", field,
                           max);
        return NULL;
    }
    if (has_control(json_string_value(value), len)) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD, "%s: must not have control characters",
                           field);
        return NULL;
    }
    return json_string_value(value);
}

int http_json_int(struct http_request *request, json_t *object, const char *field, int64_t min,
                  int64_t max, int64_t *out)
{
    const json_t *value = required(request, object, field);

    if (value == NULL)
        return -1;
    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD,
                           "%s: must be a whole number from %" PRId64 " to %" PRId64, field, min,
                           max);
        return -1;
    }
    *out = json_integer_value(value);
    return 0;
}

static bool listed(const char *name, const char *const *fields)
{
    for (; *fields != NULL; fields++)
        if (strcmp(*fields, name) == 0)
            return true;
    return false;
}

int http_json_only(struct http_request *request, json_t *object, const char *const *fields)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        if (!listed(name, fields)) {
            http_reply_problem(request, PROBLEM_INVALID_FIELD, "%.60s: is not a field of this call",
                               name);
            return -1;
        }
    }
    return 0;
}
