/* Client stub of payd. Any thread; blocks up to timeout_ms. */
#ifndef LIBCOMMON_CLIENT_CHAIN_CLIENT_H
#define LIBCOMMON_CLIENT_CHAIN_CLIENT_H

#include "libcommon/bus.h"
#include "libcommon/proto/payment.h"

int chain_client_activated(struct bus *bus, const struct payment_hint *hint, int64_t timeout_ms,
                           struct err *err) MUST_USE;

#endif
