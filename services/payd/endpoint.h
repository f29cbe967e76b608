/* One node's HTTP door: a kept connection, one POST at a time, answers bounded in size and time.
 * Nothing of its URL but scheme, host and port may be told. */
#ifndef PAYD_ENDPOINT_H
#define PAYD_ENDPOINT_H

#include "libcommon/buf.h"
#include "libcommon/err.h"
#include "services/payd/rpc.h"

struct endpoint;

struct endpoint_reply {
    struct buf body;
    long status;
    int64_t retry_after_ms; /* what it asked for; 0: nothing */
};

struct endpoint *endpoint_new(const struct rpc_options *options, const struct rpc_endpoint *config);
void endpoint_free(struct endpoint **endpoint);
const char *endpoint_name(const struct endpoint *endpoint);

/* -1: *fault says whether it is away or said too much; retry_after_ms is valid then too. The body
 * is the caller's to free either way. */
int endpoint_post(struct endpoint *endpoint, const char *request, struct endpoint_reply *out,
                  enum rpc_fault *fault, struct err *err) MUST_USE;
/* Whether a text repeats a part of the URL that may be a key. */
bool endpoint_tells_secret(const struct endpoint *endpoint, const char *text);

#endif
