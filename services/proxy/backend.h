/* One origin address and everything that is learnt of it while the proxy runs. It outlives
 * configurations: a reload finds it again by pool, URL and TLS identity (registry.h), so its state
 * carries over. What a reload may change (weight, limits) is not here but in struct member. All
 * that changes is atomic: any thread. */
#ifndef PROXY_BACKEND_H
#define PROXY_BACKEND_H

#include "services/proxy/config.h"
#include "services/proxy/fitness.h"
#include "services/proxy/retry_budget.h"
#include "services/proxy/wait_queue.h"

#include <h2o.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define BACKEND_ADDRESSES_MAX 16

/* What a backend's name stands for at the moment, in order, so that answers can be compared. */
struct backend_address {
    struct {
        struct sockaddr_storage addr;
        socklen_t len;
    } list[BACKEND_ADDRESSES_MAX];

    unsigned count, version;         /* version: grows with each change, from 1 */
    struct backend_address *retired; /* older ones: another thread may still be reading them */
};

/* What outlives configurations of a pool, found again by its name. */
struct pool_state {
    unsigned id;    /* over all pools, from 0; taken again once it is gone everywhere */
    unsigned label; /* stats_label of the name */
    char *name;
    unsigned refs;                 /* of generations; registry.c */
    struct pool_state *next;       /* registry.c */
    atomic_int_fast64_t in_flight; /* counted only where the pool has a limit */
    struct retry_budget budget;
    struct wait_queue queue;
};

struct backend {
    unsigned id; /* over all pools, from 0; taken again once it is gone everywhere */
    struct pool_state *pool;
    h2o_iovec_t authority;                     /* host:port or unix:/path: label and log field */
    char *host, *port;                         /* NULL: a Unix socket */
    bool tls;                                  /* https:// */
    bool literal;                              /* an address: never looked up again */
    _Atomic(struct backend_address *) address; /* NULL: not resolved yet */
    atomic_uint turn;                          /* new connections go to the addresses in turn */
    atomic_int_fast64_t in_flight;             /* requests, over all threads */
    struct fitness fitness;
    uint64_t hash;        /* of its address: the same in every process */
    h2o_iovec_t key;      /* pool, URL, TLS identity; registry.c */
    unsigned refs;        /* registry.c */
    struct backend *next; /* registry.c */
};

int backend_init(struct backend *backend, const struct backend_config *config,
                 struct err *err) MUST_USE;
/* What stands for it in Host. */
h2o_iovec_t backend_host(const struct backend *backend);
void backend_clear(struct backend *backend);
/* Looks the backend's name up and takes a changed address over. Blocks. */
int backend_resolve(struct backend *backend, struct err *err) MUST_USE;

#endif
