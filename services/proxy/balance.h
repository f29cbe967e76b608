/* Chooses a backend of a pool and holds a place at it: smooth weighted round robin (each worker for
 * itself), the least loaded over all workers, by the client's address (rendezvous hashing), or the
 * better of two random ones. Passed over are backends that are down, ejected, open or full. With
 * nothing fit left, one that is only down or ejected is tried all the same; an open circuit is not.
 * Also used without an exchange: a TCP tunnel holds a place as a request does. */
#ifndef PROXY_BALANCE_H
#define PROXY_BALANCE_H

#include "services/proxy/cidr.h"
#include "services/proxy/pool.h"
#include "services/proxy/worker.h"

#define BALANCE_TRIED_MAX 8

/* A place at a backend, and in its pool. Zeroed: none. */
struct place {
    const struct pool *pool;
    struct backend *backend; /* stays known after the place was given back */
    uint64_t trial;
    bool held, pooled, reported, failed;
};

struct balance_ask {
    const struct address *client; /* for ip_hash; NULL: any */
    struct backend *const *tried; /* others are preferred */
    unsigned tried_count;
};

enum balance_result {
    BALANCE_PLACED,
    BALANCE_FULL, /* a place will be free again */
    BALANCE_NONE, /* there is no backend to ask */
};

enum balance_result balance_take(struct worker *worker, const struct pool *pool,
                                 const struct balance_ask *ask, struct place *place);
/* How the attempt went. Once for each place; but what breaks after FITNESS_OK is heard too. */
void balance_report(struct worker *worker, struct place *place, enum fitness_outcome outcome);
/* Harmless where none is held. Wakes the oldest who waits. */
void balance_give_back(struct worker *worker, struct place *place);
/* Wakes the oldest who waits, if there is a place for it. */
void balance_pass_on(struct worker *worker, const struct pool *pool);
/* Whether balance_take would find a place now. */
bool balance_has_room(struct worker *worker, const struct pool *pool);
/* Whether there is a backend that is not among those tried; `sound`: and that is fit. */
bool balance_has_other(struct worker *worker, const struct pool *pool,
                       const struct balance_ask *ask, bool sound);
/* Seconds until a backend may be worth asking, at least 1. */
int64_t balance_retry_after_s(struct worker *worker, const struct pool *pool);

#endif
