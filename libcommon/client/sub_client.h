/* Client stubs of subd: one call, one request on the bus. Any thread; each blocks up to timeout_ms.
 */
#ifndef LIBCOMMON_CLIENT_SUB_CLIENT_H
#define LIBCOMMON_CLIENT_SUB_CLIENT_H

#include "libcommon/bus.h"
#include "libcommon/proto/lease.h"

int sub_client_check(struct bus *bus, const char *const *ids, size_t count, int64_t timeout_ms,
                     int64_t *head, struct sub_record **records, size_t *record_count,
                     struct err *err) MUST_USE;
int sub_client_lease(struct bus *bus, const struct lease_request *request, int64_t timeout_ms,
                     struct lease_reply *reply, struct err *err) MUST_USE;
/* A JWK Set; the caller's. */
int sub_client_keys(struct bus *bus, int64_t timeout_ms, json_t **out, struct err *err) MUST_USE;
int sub_client_revoke(struct bus *bus, const char *subscription, const char *reason,
                      const char *actor, int64_t timeout_ms, struct sub_record *out,
                      struct err *err) MUST_USE;

#endif
