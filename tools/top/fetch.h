/* GET /status, bounded in bytes and time. */
#ifndef TOOLS_TOP_FETCH_H
#define TOOLS_TOP_FETCH_H

#include "libcommon/json.h"

#include <signal.h>

struct fetch;

/* `url` is the ops listener's, as http://127.0.0.1:9480; `token` may be NULL. A transfer ends early
 * when *ended is not 0. */
int fetch_new(const char *url, const char *token, const volatile sig_atomic_t *ended,
              struct fetch **out, struct err *err) MUST_USE;
void fetch_free(struct fetch **fetch);
int fetch_status(struct fetch *fetch, json_t **out, struct err *err) MUST_USE;

#endif
