/* redis://[[user]:password@]host[:port][/db] and unix:///path, strictly. Errors never hold a part
 * of the URL: it may be its password. */
#ifndef LIBCOMMON_REDIS_URL_H
#define LIBCOMMON_REDIS_URL_H

#include "libcommon/err.h"

struct redis_url {
    char *host; /* NULL: path */
    char *path;
    char *user;     /* NULL: the default user */
    char *password; /* NULL: no authentication */
    int port;
    int db;
};

int redis_url_parse(const char *text, struct redis_url **out, struct err *err) MUST_USE;
void redis_url_free(struct redis_url **url);

#endif
