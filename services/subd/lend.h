/* Grants leases: one transaction for all asks of a message, never more than the limit, whoever asks
 * at the same time. */
#ifndef SUBD_LEND_H
#define SUBD_LEND_H

#include "libcommon/proto/lease.h"
#include "services/subd/subd.h"

/* The reply is the caller's to clear. */
int lend(struct subd *subd, struct pg_conn *conn, const struct lease_request *request,
         int64_t now_ms, struct lease_reply *reply, struct err *err) MUST_USE;

#endif
