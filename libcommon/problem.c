/* Owns the table of refusals and their JSON form (RFC 9457). The body is written by hand, so that
 * the data plane can use it without building a JSON tree. */
#include "libcommon/problem.h"

#include "libcommon/utf8.h"

#include <string.h>

#define TYPE_BASE "https://octroi.dev/problems/"

static const struct problem_desc table[] = {
    [PROBLEM_NONE] = {"none", 0, false, "", ""},

#define PROBLEM_ROW(id, name_, status_, retryable_, title_, next_)                                 \
    [PROBLEM_##id] = {name_, status_, retryable_, title_, next_},
#include "libcommon/problem.def"
#undef PROBLEM_ROW
};

const struct problem_desc *problem_get(enum problem problem)
{
    return &table[(unsigned)problem < PROBLEM_COUNT ? problem : PROBLEM_INTERNAL];
}

int problem_find(const char *name, enum problem *out)
{
    for (unsigned i = PROBLEM_NONE + 1; i < PROBLEM_COUNT; i++) {
        if (strcmp(table[i].name, name) == 0) {
            *out = (enum problem)i;
            return 0;
        }
    }
    return -1;
}

static void put_string(struct buf *out, const char *text)
{
    const char *at = text;
    const char *end = text + strlen(text);

    buf_putc(out, '"');
    while (at < end) {
        size_t len = utf8_len(at, (size_t)(end - at));
        if (len == 0)
            buf_puts(out, "\\ufffd");
        else if (*at == '"' || *at == '\\')
            buf_printf(out, "\\%c", *at);
        else if ((unsigned char)*at < 0x20 || *at == 0x7f)
            buf_printf(out, "\\u%04x", (unsigned)*at);
        else
            buf_add(out, at, len);
        at += len > 0 ? len : 1;
    }
    buf_putc(out, '"');
}

static void put_member(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "\"%s\":", name);
    put_string(out, value);
    buf_putc(out, ',');
}

void problem_body(struct buf *out, enum problem problem, const char *detail, const char *request_id)
{
    const struct problem_desc *desc = problem_get(problem);

    buf_printf(out, "{\"type\":\"" TYPE_BASE "%s\",", desc->name);
    put_member(out, "title", desc->title);
    buf_printf(out, "\"status\":%u,", desc->status);
    if (detail != NULL)
        put_member(out, "detail", detail);
    if (request_id != NULL)
        put_member(out, "request_id", request_id);
    put_member(out, "next", desc->next);
    buf_printf(out, "\"retryable\":%s}", desc->retryable ? "true" : "false");
}
