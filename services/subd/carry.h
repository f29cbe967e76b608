/* What was used of a quota, taken along when an upgrade or its undoing begins other periods. */
#ifndef SUBD_CARRY_H
#define SUBD_CARRY_H

#include "libcommon/pg.h"

/* Under the subscription's lock: the new period starts with at least what the old one has granted
 * and used, and the open leases of the old one draw on the new one from now on. */
int carry_quota(struct pg_conn *conn, const char *subscription, int64_t from, int64_t to,
                struct err *err) MUST_USE;

#endif
