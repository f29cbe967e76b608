/* A page of text, 80 columns wide, made of what /status answers. Whatever the answer holds, the
 * page has printable ASCII, line ends and nothing else: a name cannot steer the terminal. */
#ifndef TOOLS_TOP_VIEW_H
#define TOOLS_TOP_VIEW_H

#include "libcommon/buf.h"

#include <jansson.h>

#define VIEW_COLUMNS 80

struct view {
    const json_t *now;
    const json_t *before; /* NULL: no rates yet */
    double seconds;       /* between them */
    unsigned rows;        /* 0: as many as there are */
};

/* -1: it is no answer of /status. */
int view_draw(const struct view *view, struct buf *out, struct err *err) MUST_USE;

#endif
