/* Builds and reads the JSON-RPC envelope. An answer is one only with the version, the id that was
 * sent, and exactly one of result and error. */
#include "services/payd/jsonrpc.h"

#include <string.h>

char *jsonrpc_request(int64_t id, const char *method, json_t *params)
{
    AUTO_JSON json_t *request = json_pack("{s:s, s:I, s:s, s:o}", "jsonrpc", "2.0", "id",
                                          (json_int_t)id, "method", method, "params", params);
    return json_text(request);
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

static int error_read(const json_t *error, struct jsonrpc_answer *out, struct err *err)
{
    const json_t *code = json_object_get(error, "code");
    const char *message = json_string_value(json_object_get(error, "message"));
    if (!json_is_integer(code))
        return err_set(err, "JSON-RPC answer: error.code is not an integer");
    out->failed = true;
    out->code = json_integer_value(code);
    message_copy(message == NULL ? "" : message, out->message, sizeof(out->message));
    return 0;
}

int jsonrpc_answer_parse(const char *text, size_t len, int64_t id, struct jsonrpc_answer *out,
                         struct err *err)
{
    *out = (struct jsonrpc_answer){0};
    AUTO_JSON json_t *json = NULL;
    if (json_parse(text, len, &json, err) != 0)
        return err_wrap(err, "JSON-RPC answer");
    if (!json_is_object(json))
        return err_set(err, "JSON-RPC answer: not an object");
    const char *version = json_string_value(json_object_get(json, "jsonrpc"));
    if (version == NULL || strcmp(version, "2.0") != 0)
        return err_set(err, "JSON-RPC answer: jsonrpc is not \"2.0\"");
    json_t *result = json_object_get(json, "result");
    const json_t *error = json_object_get(json, "error");
    const json_t *answered = json_object_get(json, "id");
    /* A node that could not read the request answers with a null id. */
    bool unread = json_is_null(answered) && error != NULL;
    if (!unread && (!json_is_integer(answered) || json_integer_value(answered) != id))
        return err_set(err, "JSON-RPC answer: id is not that of the request");
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
