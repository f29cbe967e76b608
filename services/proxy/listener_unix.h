/* Listeners at a path: `unix:/path`. One socket serves all workers, each with a descriptor of its
 * own; the file is removed by who ends last. */
#ifndef PROXY_LISTENER_UNIX_H
#define PROXY_LISTENER_UNIX_H

#include "libcommon/err.h"

/* The path of such an address; NULL: it is another. */
const char *listener_unix_path(const char *address);
/* Takes the place of a socket that nobody serves any more, not of another file. */
int listener_unix_bind(const char *path, int *fd, struct err *err) MUST_USE;
/* After it was closed here: removes the file, unless some process serves it still. */
void listener_unix_clean(const char *path);

#endif
