/* A password that is not percent-encoded takes a URI apart in other places than its author thinks,
 * and libpq then quotes a piece of it as host, port or database. So an address is looked at before
 * libpq gets to complain about it. */
#include "libcommon/pg.h"

#include <string.h>

static const char encode[] =
    ": in a user's name or a password, @ / ? # and % are written %40 %2F %3F %23 %25";

static void free_options(PQconninfoOption **options)
{
    PQconninfoFree(*options);
}

static void free_message(char **message)
{
    PQfreemem(*message);
}

/* Whether the value holds only what libpq may repeat. */
static bool plain(const PQconninfoOption *option)
{
    if (option->val == NULL)
        return true;
    if (strcmp(option->keyword, "port") == 0)
        return option->val[strspn(option->val, "0123456789,")] == '\0';
    if (strcmp(option->keyword, "host") == 0 || strcmp(option->keyword, "dbname") == 0)
        return strchr(option->val, '@') == NULL;
    return true;
}

int pg_conninfo_check(const char *conninfo, struct err *err)
{
    CLEANUP(free_message) char *message = NULL;
    bool uri =
        strncmp(conninfo, "postgresql://", 13) == 0 || strncmp(conninfo, "postgres://", 11) == 0;
    if (!uri && strstr(conninfo, "://") != NULL && strchr(conninfo, '=') == NULL)
        return err_set(err, "postgres url: must begin with postgresql://");
    CLEANUP(free_options) PQconninfoOption *options = PQconninfoParse(conninfo, &message);
    if (options == NULL)
        return err_set(err, "postgres url: is not understood%s", uri ? encode : "");
    for (const PQconninfoOption *option = options; option->keyword != NULL; option++) {
        if (!plain(option))
            return err_set(err, "postgres url: the %s is not valid%s", option->keyword, encode);
    }
    return 0;
}
