/* Owns the table of refusals and their JSON form (RFC 9457). The body is written by hand, so that
 * the data plane can use it without building a JSON tree. */
#include "libcommon/problem.h"

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

/* Length of the valid UTF-8 sequence at text, 0 where it is none (RFC 3629). */
static size_t utf8_len(const unsigned char *text)
{
    static const unsigned char least[] = {0, 0, 0x80, 0xa0, 0x90};
    size_t len = text[0] < 0x80                      ? 1
                 : text[0] >= 0xc2 && text[0] < 0xe0 ? 2
                 : (text[0] & 0xf0) == 0xe0          ? 3
                 : text[0] >= 0xf0 && text[0] < 0xf5 ? 4
                                                     : 0;

    for (size_t i = 1; i < len; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((text[0] == 0xe0 || text[0] == 0xf0) && text[1] < least[len])
        return 0; /* overlong */
    if ((text[0] == 0xed && text[1] > 0x9f) || (text[0] == 0xf4 && text[1] > 0x8f))
        return 0; /* surrogate; past U+10FFFF */
    return len;
}

static void put_string(struct buf *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    buf_putc(out, '"');
    while (*at != '\0') {
        size_t len = utf8_len(at);
        if (len == 0)
            buf_puts(out, "\\ufffd");
        else if (*at == '"' || *at == '\\')
            buf_printf(out, "\\%c", *at);
        else if (*at < 0x20 || *at == 0x7f)
            buf_printf(out, "\\u%04x", *at);
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
