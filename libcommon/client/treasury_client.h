/* Client stubs of what an operator asks of payd's wallet. Any thread; each blocks up to timeout_ms.
 * Each asks for a transaction once, however often it is called, and tells what has become of it:
 * *out is the answer as docs/interfaces.md has it, the caller's. */
#ifndef LIBCOMMON_CLIENT_TREASURY_CLIENT_H
#define LIBCOMMON_CLIENT_TREASURY_CLIENT_H

#include "libcommon/bus.h"
#include "libcommon/proto/treasury.h"

int treasury_client_refund(struct bus *bus, const struct treasury_refund *request,
                           int64_t timeout_ms, json_t **out, struct err *err) MUST_USE;
int treasury_client_refund_transfer(struct bus *bus, const struct treasury_refund *request,
                                    int64_t timeout_ms, json_t **out, struct err *err) MUST_USE;
int treasury_client_withdraw(struct bus *bus, const struct treasury_withdraw *request,
                             int64_t timeout_ms, json_t **out, struct err *err) MUST_USE;

#endif
