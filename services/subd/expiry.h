/* Subscriptions end on time, asked or not; and what is kept for a while only is deleted. */
#ifndef SUBD_EXPIRY_H
#define SUBD_EXPIRY_H

#include "services/subd/subd.h"

struct expiry;

int expiry_start(struct subd *subd, struct expiry **out, struct err *err) MUST_USE;
void expiry_stop(struct expiry **expiry);

/* Ends what is due at `now`, at most one batch, and brings back what a wrong clock has ended; any
 * number of instances may do it at once. *ended is how many were ended, *next when the next one is
 * due (0: none known). */
int expiry_run(struct subd *subd, struct pg_conn *conn, int64_t now, int *ended, int64_t *next,
               struct err *err) MUST_USE;

#endif
