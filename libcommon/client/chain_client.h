/* Client stubs of payd. Any thread; each blocks up to timeout_ms. */
#ifndef LIBCOMMON_CLIENT_CHAIN_CLIENT_H
#define LIBCOMMON_CLIENT_CHAIN_CLIENT_H

#include "libcommon/bus.h"
#include "libcommon/proto/payment.h"

int chain_client_slot(struct bus *bus, const struct payment_slot_request *request,
                      int64_t timeout_ms, struct payment_slot *out, struct err *err) MUST_USE;
int chain_client_status(struct bus *bus, int64_t timeout_ms, struct payment_chain_status *out,
                        struct err *err) MUST_USE;
int chain_client_activated(struct bus *bus, const struct payment_hint *hint, int64_t timeout_ms,
                           struct err *err) MUST_USE;

#endif
