/* Builds and reads the JSON-RPC envelope. An answer is one only with the version, the id that was
 * sent, and exactly one of result and error; a batch is answered only if each of its calls is,
 * once.
 */
#include "services/payd/jsonrpc.h"

#include <string.h>

/* What nodes answer has 40 bytes and more for each value; a hostile one may send three, which the
 * parser would make a hundred times as large. */
#define VALUES_FREE     65536
#define BYTES_PER_VALUE 24

static int read_json(const char *text, size_t len, json_t **out, struct err *err)
{
    return json_parse_most(text, len, VALUES_FREE + len / BYTES_PER_VALUE, out, err);
}

static json_t *request_json(int64_t id, const char *method, json_t *params)
{
    return json_pack("{s:s, s:I, s:s, s:o}", "jsonrpc", "2.0", "id", (json_int_t)id, "method",
                     method, "params", params);
}

char *jsonrpc_request(int64_t id, const char *method, json_t *params)
{
    AUTO_JSON json_t *request = request_json(id, method, params);
    return json_text(request);
}

char *jsonrpc_batch_request(int64_t id, const struct jsonrpc_call *calls, size_t count)
{
    AUTO_JSON json_t *batch = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(
            batch, request_json(id + (int64_t)i, calls[i].method, json_deep_copy(calls[i].params)));
    return json_text(batch);
}

void jsonrpc_answer_clear(struct jsonrpc_answer *answer)
{
    json_decref(answer->result);
    answer->result = NULL;
}

static void message_copy(const char *text, char *out, size_t size)
{
    size_t n = 0;
    for (; *text != '\0' && n + 1 < size; text++)
        out[n++] = *text >= ' ' && *text <= '~' ? *text : '?';
    out[n] = '\0';
}

/* Some nodes wrap it in an object, some write other things there. */
static void data_copy(const json_t *data, char out[JSONRPC_DATA])
{
    const char *text = json_string_value(data);
    if (text == NULL)
        text = json_string_value(json_object_get(data, "data"));
    if (text != NULL && strncmp(text, "0x", 2) == 0 && strlen(text) < JSONRPC_DATA &&
        strspn(text + 2, "0123456789abcdefABCDEF") == strlen(text + 2))
        memcpy(out, text, strlen(text) + 1);
}

static int error_read(const json_t *error, struct jsonrpc_answer *out, struct err *err)
{
    const json_t *code = json_object_get(error, "code");
    const char *message = json_string_value(json_object_get(error, "message"));
    if (!json_is_integer(code))
        return err_set(err, "JSON-RPC answer: error.code is not an integer");
    out->failed = true;
    out->code = json_integer_value(code);
    message_copy(message == NULL ? "" : message, out->message, sizeof(out->message));
    data_copy(json_object_get(error, "data"), out->data);
    return 0;
}

static int version_check(const json_t *json, struct err *err)
{
    if (!json_is_object(json))
        return err_set(err, "JSON-RPC answer: not an object");
    const char *version = json_string_value(json_object_get(json, "jsonrpc"));
    if (version == NULL || strcmp(version, "2.0") != 0)
        return err_set(err, "JSON-RPC answer: jsonrpc is not \"2.0\"");
    return 0;
}

static int outcome_read(const json_t *json, struct jsonrpc_answer *out, struct err *err)
{
    json_t *result = json_object_get(json, "result");
    const json_t *error = json_object_get(json, "error");
    if (error != NULL && !json_is_null(error)) {
        if (result != NULL && !json_is_null(result))
            return err_set(err, "JSON-RPC answer: both result and error");
        return error_read(error, out, err);
    }
    if (result == NULL)
        return err_set(err, "JSON-RPC answer: neither result nor error");
    out->result = json_incref(result);
    return 0;
}

/* Nodes put a revert's raw bytes into the words of an error: there an escaped NUL, which is refused
 * anywhere else, is read as a blank. */
static int answer_json(const char *text, size_t len, json_t **out, struct err *err)
{
    static const char nul[] = "\\u0000";
    if (read_json(text, len, out, err) == 0)
        return 0;
    AUTO_FREE char *copy = mem_strndup(text, len);
    size_t whole = strlen(copy);
    for (char *at = strstr(copy, nul); at != NULL; at = strstr(at, nul))
        at[4] = '2';
    if (read_json(copy, whole, out, NULL) == 0 && json_is_object(json_object_get(*out, "error")) &&
        json_object_get(*out, "result") == NULL)
        return 0;
    json_decref(*out);
    *out = NULL;
    return -1;
}

int jsonrpc_answer_parse(const char *text, size_t len, int64_t id, struct jsonrpc_answer *out,
                         struct err *err)
{
    *out = (struct jsonrpc_answer){0};
    AUTO_JSON json_t *json = NULL;
    if (answer_json(text, len, &json, err) != 0)
        return err_wrap(err, "JSON-RPC answer");
    if (version_check(json, err) != 0)
        return -1;
    const json_t *answered = json_object_get(json, "id");
    /* A node that could not read the request answers with a null id. */
    bool unread = json_is_null(answered) && json_object_get(json, "error") != NULL;
    if (!unread && (!json_is_integer(answered) || json_integer_value(answered) != id))
        return err_set(err, "JSON-RPC answer: id is not that of the request");
    return outcome_read(json, out, err);
}

static int batch_item(const json_t *json, int64_t id, size_t count, struct jsonrpc_answer *out,
                      struct err *err)
{
    if (version_check(json, err) != 0)
        return -1;
    const json_t *answered = json_object_get(json, "id");
    json_int_t got = json_integer_value(answered);
    if (!json_is_integer(answered) || got < id || got >= id + (int64_t)count)
        return err_set(err, "JSON-RPC batch: an id that was not sent");
    json_int_t place = got - id;
    if (out[place].failed || out[place].result != NULL)
        return err_set(err, "JSON-RPC batch: two answers to one call");
    return outcome_read(json, &out[place], err);
}

static int batch_items(const json_t *json, int64_t id, size_t count, struct jsonrpc_answer *out,
                       struct err *err)
{
    if (!json_is_array(json))
        return err_set(err, "JSON-RPC batch: not an array");
    if (json_array_size(json) != count)
        return err_set(err, "JSON-RPC batch: %zu answers to %zu calls", json_array_size(json),
                       count);
    for (size_t i = 0; i < count; i++) {
        if (batch_item(json_array_get(json, i), id, count, out, err) != 0)
            return -1;
    }
    return 0;
}

int jsonrpc_batch_parse(const char *text, size_t len, int64_t id, size_t count,
                        struct jsonrpc_answer *out, bool *refused, struct err *err)
{
    AUTO_JSON json_t *json = NULL;
    memset(out, 0, count * sizeof(*out));
    *refused = false;
    if (read_json(text, len, &json, err) != 0)
        return err_wrap(err, "JSON-RPC batch");
    /* Some refuse by an error instead of the array, some by an array of one error without id. */
    const json_t *only = json;
    if (json_is_array(json) && json_array_size(json) == 1 && count > 1)
        only = json_array_get(json, 0);
    if (json_is_object(only)) {
        *refused = true;
        if (version_check(only, err) != 0)
            return -1;
        return error_read(json_object_get(only, "error"), &out[0], err);
    }
    if (batch_items(json, id, count, out, err) == 0)
        return 0;
    for (size_t i = 0; i < count; i++)
        jsonrpc_answer_clear(&out[i]);
    return -1;
}
