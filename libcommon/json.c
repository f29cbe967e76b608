/* What the tree needs above jansson: texts of a hostile peer are bounded in depth before the parser
 * recurses on them, duplicate members are refused, and every refusal names the member and the rule.
 * Members are read by these functions only, so that a wrong type is never taken for zero. */
#include "libcommon/json.h"

#include <inttypes.h>
#include <string.h>

#define JSON_MAX_DEPTH 32

void json_cleanup(json_t **json)
{
    json_decref(*json);
    *json = NULL;
}

/* jansson's own bound is 2048 levels of C stack, and it has none for values, of which one takes up
 * to 400 bytes of memory for three of the text: count brackets and commas outside strings first. */
static int check_shape(const char *text, size_t len, size_t most, struct err *err)
{
    int depth = 0;
    size_t values = 1;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_MAX_DEPTH)
                return err_set(err, "JSON is nested deeper than %d levels", JSON_MAX_DEPTH);
        } else if (c == '}' || c == ']') {
            depth--;
        }
        if (!in_string && (c == '{' || c == '[' || c == ',') && ++values > most)
            return err_set(err, "JSON holds more than %zu values", most);
    }
    return 0;
}

int json_parse(const char *text, size_t len, json_t **out, struct err *err)
{
    return json_parse_most(text, len, SIZE_MAX, out, err);
}

int json_parse_most(const char *text, size_t len, size_t most, json_t **out, struct err *err)
{
    *out = NULL;
    if (check_shape(text, len, most, err) != 0)
        return -1;
    json_error_t problem;
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &problem);
    if (json == NULL) /* jansson quotes the input near the error: only the place is passed on */
        return err_set(err, "not JSON: error at line %d, column %d", problem.line, problem.column);
    *out = json;
    return 0;
}

char *json_text(const json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL)
        abort();
    return text;
}

static int get(const json_t *object, const char *key, const json_t **out, struct err *err)
{
    *out = json_object_get(object, key);
    if (*out == NULL)
        return err_set(err, "%s: missing", key);
    return 0;
}

int json_get_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *out,
                 struct err *err)
{
    const json_t *value;
    if (get(object, key, &value, err) != 0)
        return -1;
    if (!json_is_integer(value))
        return err_set(err, "%s: must be an integer", key);
    int64_t n = json_integer_value(value);
    if (n < min || n > max)
        return err_set(err, "%s: must be %" PRId64 " to %" PRId64, key, min, max);
    *out = n;
    return 0;
}

int json_get_str(const json_t *object, const char *key, size_t max_len, const char **out,
                 struct err *err)
{
    const json_t *value;
    if (get(object, key, &value, err) != 0)
        return -1;
    if (!json_is_string(value))
        return err_set(err, "%s: must be a string", key);
    if (json_string_length(value) > max_len)
        return err_set(err, "%s: must be at most %zu bytes", key, max_len);
    *out = json_string_value(value);
    return 0;
}

int json_get_bool(const json_t *object, const char *key, bool *out, struct err *err)
{
    const json_t *value;
    if (get(object, key, &value, err) != 0)
        return -1;
    if (!json_is_boolean(value))
        return err_set(err, "%s: must be true or false", key);
    *out = json_is_true(value);
    return 0;
}

int json_get_object(const json_t *object, const char *key, const json_t **out, struct err *err)
{
    if (get(object, key, out, err) != 0)
        return -1;
    if (!json_is_object(*out))
        return err_set(err, "%s: must be an object", key);
    return 0;
}

int json_get_array(const json_t *object, const char *key, size_t max, const json_t **out,
                   struct err *err)
{
    if (get(object, key, out, err) != 0)
        return -1;
    if (!json_is_array(*out))
        return err_set(err, "%s: must be an array", key);
    if (json_array_size(*out) > max)
        return err_set(err, "%s: must have at most %zu items", key, max);
    return 0;
}

int json_only(const json_t *object, const char *const *keys, struct err *err)
{
    /* jansson iterates through a non-const pointer; nothing is changed. */
    json_t *mutable = (json_t *)(uintptr_t)object;
    const char *name;
    json_t *value;
    json_object_foreach(mutable, name, value)
    {
        const char *const *key = keys;
        while (*key != NULL && strcmp(*key, name) != 0)
            key++;
        if (*key == NULL)
            return err_set(err, "%.64s: unknown member", name);
    }
    return 0;
}
