/* Subscriptions as subd publishes them. */
#ifndef ADMINSVC_SUBS_H
#define ADMINSVC_SUBS_H

#include "libcommon/json.h"
#include "libcommon/pg.h"

struct subs_filter {
    const char *state, *service, *subscriber; /* "": any; subscriber in lower case */
    const char *after;                        /* id; "": from the first */
    int64_t limit;
};

/* In the order of their ids. *more: the list goes on after the last one. */
int subs_page(struct pg_conn *conn, const struct subs_filter *filter, json_t **out, bool *more,
              struct err *err) MUST_USE;
/* NULL where there is none. */
int subs_get(struct pg_conn *conn, const char *id, json_t **out, struct err *err) MUST_USE;

#endif
