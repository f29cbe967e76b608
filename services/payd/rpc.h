/* JSON-RPC over HTTP to an ordered list of endpoints: the first that is well is asked, the next
 * where it is not; one that failed is left alone for a while that grows. Before an endpoint's
 * answers count it must have named the right chain id, after each outage again. Used by one thread;
 * a call blocks up to timeout_ms for each endpoint. */
#ifndef PAYD_RPC_H
#define PAYD_RPC_H

#include "libcommon/clock.h"
#include "libcommon/json.h"
#include "services/payd/breaker.h"
#include "services/payd/jsonrpc.h"

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
    bool quiet; /* another rpc tells of these endpoints: log nothing */
    const struct clock *clock;
    const atomic_bool *stop; /* true ends a call that is under way */
    /* Told of each POST; method is "batch" for more than one call, result is "ok" or what was wrong
     * in one word. May be NULL. */
    void (*observe)(void *ctx, const char *endpoint, const char *method, const char *result,
                    double seconds);
    void *ctx;
};

struct rpc *rpc_new(const struct rpc_options *options);
void rpc_free(struct rpc **rpc);

/* Steals params. *result is the caller's. */
int rpc_call(struct rpc *rpc, const char *method, json_t *params, json_t **result,
             enum rpc_fault *fault, struct err *err) MUST_USE;

/* The error that the last call was refused with (RPC_REFUSED), until the next one. */
struct rpc_refusal {
    int64_t code;
    char message[200];       /* as jsonrpc.h has it; withheld where it repeats a part of the URL */
    char data[JSONRPC_DATA]; /* of a call that reverted; empty: none */
};

const struct rpc_refusal *rpc_refusal(const struct rpc *rpc);

/* All calls answered by one endpoint, in one POST where it takes batches, else one by one. 1 to
 * JSONRPC_BATCH_MAX calls, whose params stay the caller's. One answer missing, doubled or refused:
 * -1 and no results. Each result is the caller's. */
int rpc_batch(struct rpc *rpc, const struct jsonrpc_call *calls, size_t count, json_t **results,
              enum rpc_fault *fault, struct err *err) MUST_USE;

/* This endpoint alone, whatever the step is pinned to; the next calls are not moved by it. */
int rpc_call_at(struct rpc *rpc, size_t endpoint, const char *method, json_t *params,
                json_t **result, enum rpc_fault *fault, struct err *err) MUST_USE;

/* From here to the next rpc_step every answer comes from one endpoint, the first that gives one:
 * what is read together is one node's view. */
void rpc_step(struct rpc *rpc);
/* The endpoint that answered last said something that cannot be: it is left alone for a while. */
void rpc_distrust(struct rpc *rpc, const char *why);
/* Asks the endpoint that answered last whether it is still of the right chain; -1: it is not, or
 * does not say, and is left alone for a while. */
int rpc_chain_again(struct rpc *rpc, struct err *err) MUST_USE;
/* What it said was of use: earlier distrust is over. */
void rpc_trust(struct rpc *rpc);
/* An endpoint that is behind is asked only where all others are away. */
void rpc_set_behind(struct rpc *rpc, size_t endpoint, bool behind);
/* The endpoint that answered last; -1: none. */
int rpc_last(const struct rpc *rpc);
enum breaker_state rpc_breaker(const struct rpc *rpc, size_t endpoint);
size_t rpc_count(const struct rpc *rpc);
const char *rpc_endpoint_name(const struct rpc *rpc, size_t endpoint);

/* "https://host:port" of a URL: no user, path or query, where keys may stand. */
void rpc_name(const char *url, char out[128]);

#endif
