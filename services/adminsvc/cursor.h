/* Where a page ends, as a text that clients hand back without reading it. */
#ifndef ADMINSVC_CURSOR_H
#define ADMINSVC_CURSOR_H

#include "libcommon/err.h"

#include <stddef.h>

#define CURSOR_MAX 128 /* with NUL; of positions up to 80 characters */

/* `kind` is one letter: a cursor of another list is refused. */
void cursor_encode(char kind, const char *position, char out[CURSOR_MAX]);
/* -1: it is none of ours. */
int cursor_decode(char kind, const char *cursor, char *position, size_t size) MUST_USE;

#endif
