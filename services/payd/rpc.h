/* JSON-RPC over HTTP to an ordered list of endpoints: the first that is well is asked, the next
 * where it is not; one that failed is left alone for a while that grows. Before an endpoint's
 * answers count it must have named the right chain id. Used by one thread; a call blocks up to
 * timeout_ms for each endpoint. */
#ifndef PAYD_RPC_H
#define PAYD_RPC_H

#include "libcommon/clock.h"
#include "libcommon/json.h"

#include <stdatomic.h>

struct rpc;

enum rpc_fault {
    RPC_NONE,
    RPC_AWAY,      /* no endpoint gave an answer */
    RPC_REFUSED,   /* a node answered with an error: the question is at fault */
    RPC_TOO_LARGE, /* the answer is larger than max_bytes */
};

struct rpc_endpoint {
    const char *url;  /* may hold credentials: never logged */
    const char *name; /* for logs and metrics; empty: made of the URL's scheme, host and port */
    int64_t timeout_ms;
};

struct rpc_options {
    const struct rpc_endpoint *endpoints; /* kept, not copied */
    size_t count;
    uint64_t chain_id;
    int64_t connect_ms;
    int64_t backoff_min_ms, backoff_max_ms;
    int64_t max_bytes;
    const struct clock *clock;
    const atomic_bool *stop; /* true ends a call that is under way */
    /* Told of each call; result is "ok" or what was wrong in one word. May be NULL. */
    void (*observe)(void *ctx, const char *endpoint, const char *method, const char *result,
                    double seconds);
    void *ctx;
};

struct rpc *rpc_new(const struct rpc_options *options);
void rpc_free(struct rpc **rpc);

/* Steals params. *result is the caller's. */
int rpc_call(struct rpc *rpc, const char *method, json_t *params, json_t **result,
             enum rpc_fault *fault, struct err *err) MUST_USE;
/* The endpoint that answered last said something that cannot be: it is left alone for a while. */
void rpc_distrust(struct rpc *rpc, const char *why);

/* "https://host:port" of a URL: no user, path or query, where keys may stand. */
void rpc_name(const char *url, char out[128]);

#endif
