/* Ending leases on which nothing more can be spent although no batch says so: those whose grant
 * never arrived, and all of a journal that is final. */
#ifndef SUBD_LEASES_H
#define SUBD_LEASES_H

#include "libcommon/pg.h"

/* Closes what is open of this journal beyond the lease `last`; the rest of it goes back to the
 * quotas. Under the journal's lock. */
int leases_close(struct pg_conn *conn, const char *journal, int64_t last, struct err *err) MUST_USE;

#endif
