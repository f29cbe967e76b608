/* Counts the events of a text/event-stream (HTML, section 9.2.6) as it passes: lines end with LF,
 * CR or CRLF, a BOM may come first, an event is a block with at least one data line. Pure, no
 * allocation, whatever the input is cut into. */
#ifndef PROXY_SSE_H
#define PROXY_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sse {
    uint64_t events;  /* that a client dispatches */
    unsigned bom;     /* bytes of it seen; 3 and more: no longer looked for */
    unsigned matched; /* of the field name "data" at the start of the present line */
    bool other;       /* the present line is of another field, or its name is past */
    bool line;        /* the present line has a byte */
    bool cr;          /* the last byte was CR: a LF belongs to it */
    bool data;        /* the present event has a data line */
    bool open;        /* the present event has a line or a part of one */
};

void sse_init(struct sse *sse);
/* Follows data[0, len); returns how many events ended in it. */
uint64_t sse_feed(struct sse *sse, const char *data, size_t len);
/* What must be written before an event of our own can begin: ends the open line and event. */
const char *sse_finish(const struct sse *sse);

#endif
