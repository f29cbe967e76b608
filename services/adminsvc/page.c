/* One reader of each kind of parameter, so that every list refuses in the same words. */
#include "services/adminsvc/page.h"

#include "libcommon/eth/hex.h"
#include "services/adminsvc/cursor.h"

#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT 50
#define LIMIT_MAX     200

int page_limit(struct call *call, int64_t *out)
{
    const char *text = http_query(call->request, "limit");
    *out = LIMIT_DEFAULT;
    if (text == NULL)
        return 0;
    if (strlen(text) <= 3 && strspn(text, "0123456789") == strlen(text))
        *out = strtol(text, NULL, 10);
    else
        *out = 0;
    if (*out >= 1 && *out <= LIMIT_MAX)
        return 0;
    call_refuse(call, PROBLEM_INVALID_FIELD, "limit: must be 1 to %d", LIMIT_MAX);
    return -1;
}

int page_cursor(struct call *call, char kind, bool (*valid)(const char *text, size_t len),
                char *position, size_t size)
{
    const char *text = http_query(call->request, "cursor");
    position[0] = '\0';
    if (text == NULL ||
        (cursor_decode(kind, text, position, size) == 0 && valid(position, strlen(position))))
        return 0;
    call_refuse(call, PROBLEM_INVALID_FIELD, "cursor: must be the next_cursor of an earlier page");
    return -1;
}

json_t *page_json(json_t *items, char kind, const char *next)
{
    char cursor[CURSOR_MAX];
    if (next[0] == '\0')
        return json_pack("{s:o, s:n}", "items", items, "next_cursor");
    cursor_encode(kind, next, cursor);
    return json_pack("{s:o, s:s}", "items", items, "next_cursor", cursor);
}

int page_subscriber(struct call *call, char out[43])
{
    const char *text = http_query(call->request, "subscriber");
    uint8_t address[20];
    struct err err;
    out[0] = '\0';
    if (text == NULL || text[0] == '\0')
        return 0;
    if (hex_address(text, address, &err) != 0) {
        call_refuse(call, PROBLEM_INVALID_FIELD, "subscriber: %s", err.msg);
        return -1;
    }
    hex_encode(address, sizeof(address), out);
    return 0;
}

void page_refuse(struct call *call, const char *owner, const struct err *err)
{
    char name[40] = "";
    enum problem problem;
    size_t len = strcspn(err->msg, ":");
    if (len < sizeof(name) && err->msg[len] == ':')
        memcpy(name, err->msg, len);
    if (name[0] != '\0' && problem_find(name, &problem) == 0) {
        call_refuse(call, problem, "%.250s", err->msg + len + 1 + strspn(err->msg + len + 1, " "));
        return;
    }
    call_refuse(call, PROBLEM_UNAVAILABLE, "%s did not answer", owner);
}

const char *page_text(struct call *call, json_t *body, const char *field, size_t max)
{
    const char *text = http_json_string(call->request, body, field, max);
    if (text == NULL || text[0] != '\0')
        return text;
    call_refuse(call, PROBLEM_INVALID_FIELD, "%s: must not be empty", field);
    return NULL;
}
