/* Payments and transfers that paid nothing, as payd publishes them. */
#ifndef ADMINSVC_PAYMENTS_H
#define ADMINSVC_PAYMENTS_H

#include "libcommon/json.h"
#include "libcommon/pg.h"

#define PAYMENTS_POSITION 48 /* "<block>:<log index>:<16 digits of the id>" */

struct payments_filter {
    const char *state, *subscriber; /* "": any; subscriber (of a transfer: sender) in lower case */
    const char *before;             /* position; "": from the newest */
    int64_t limit;
};

bool payments_position_valid(const char *text, size_t len);

/* Newest block first. next: position of the last one where the list goes on, else "". */
int payments_page(struct pg_conn *conn, const struct payments_filter *filter, json_t **out,
                  char next[PAYMENTS_POSITION], struct err *err) MUST_USE;
int payments_transfers(struct pg_conn *conn, const struct payments_filter *filter, json_t **out,
                       char next[PAYMENTS_POSITION], struct err *err) MUST_USE;
/* NULL where there is none. */
int payments_get(struct pg_conn *conn, const char *id, json_t **out, struct err *err) MUST_USE;

#endif
