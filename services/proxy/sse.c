/* One byte after the other; runs inside a line are skipped as a whole. */
#include "services/proxy/sse.h"

#include <string.h>

static const char name[] = "data";
static const char bom[] = "\xef\xbb\xbf";

enum { NAME_LEN = sizeof(name) - 1, BOM_LEN = sizeof(bom) - 1, BOM_OVER = BOM_LEN + 1 };

void sse_init(struct sse *sse)
{
    memset(sse, 0, sizeof(*sse));
}

static void end_line(struct sse *sse)
{
    if (sse->line) {
        /* A line that is only the field's name is the field with an empty value. */
        if (!sse->other && sse->matched == NAME_LEN)
            sse->data = true;
    } else {
        sse->events += sse->data;
        sse->data = sse->open = false;
    }
    sse->line = sse->other = false;
    sse->matched = 0;
}

static void in_line(struct sse *sse, char c)
{
    sse->line = sse->open = true;
    if (sse->other)
        return;
    if (sse->matched == NAME_LEN) {
        if (c == ':')
            sse->data = true;
        sse->other = true;
    } else if (c == name[sse->matched]) {
        sse->matched++;
    } else {
        sse->other = true;
    }
}

/* True while the byte may be of the mark at the very start. */
static bool skip_bom(struct sse *sse, char c)
{
    if (sse->bom >= BOM_LEN)
        return false;
    if (c == bom[sse->bom]) {
        sse->bom++;
        return true;
    }
    if (sse->bom)
        sse->line = sse->open = sse->other = true; /* half a mark is a line's start */
    sse->bom = BOM_OVER;
    return false;
}

static bool is_end(char c)
{
    return c == '\n' || c == '\r';
}

uint64_t sse_feed(struct sse *sse, const char *data, size_t len)
{
    uint64_t before = sse->events;
    for (size_t i = 0; i < len; i++) {
        char c = data[i];
        bool cr = sse->cr;
        sse->cr = c == '\r';
        if (skip_bom(sse, c) || (cr && c == '\n'))
            continue;
        if (is_end(c)) {
            end_line(sse);
            continue;
        }
        in_line(sse, c);
        while (sse->other && i + 1 < len && !is_end(data[i + 1]))
            i++;
    }
    return sse->events - before;
}

const char *sse_finish(const struct sse *sse)
{
    /* Behind a CR the first LF would be its second half. */
    if (sse->line || (sse->open && sse->cr))
        return "\n\n";
    return sse->open ? "\n" : "";
}
