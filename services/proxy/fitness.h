/* What is known of one backend's fitness: health checks, ejection, circuit breaker, and since when
 * it is back. Shared by all workers and carried over by a reload; atomics only. Time is monotonic
 * milliseconds. The rules come from the pool of the asking request's generation. */
#ifndef PROXY_FITNESS_H
#define PROXY_FITNESS_H

#include "services/proxy/breaker.h"
#include "services/proxy/eject.h"

struct backend;
struct metrics;
struct pool;

enum fitness_outcome {
    FITNESS_UNDECIDED, /* the client left, or it was our own shortage */
    FITNESS_OK,        /* a whole head of an answer, and not one of those below */
    FITNESS_UNREACHABLE,
    FITNESS_TIMED_OUT,
    FITNESS_BROKE,        /* reset, closed or malformed before its answer was complete */
    FITNESS_ERROR_STATUS, /* 502, 503, 504 */
};

struct fitness {
    struct breaker breaker;
    struct eject eject;
    atomic_bool down;                 /* by health checks */
    int64_t good_checks, bad_checks;  /* in a row; of the health thread alone */
    atomic_int_fast64_t recovered_ms; /* slow start begins; 0: it was never away */
};

#define FITNESS_SCALE 100

/* Asked by balance: up, not ejected, the breaker lets through. */
bool fitness_usable(const struct backend *backend, const struct pool *pool, int64_t now_ms);
/* Its share of the pool times FITNESS_SCALE: less while it starts slowly, at least 1. */
int64_t fitness_weight(const struct backend *backend, const struct pool *pool, int64_t weight,
                       int64_t now_ms);
/* A request goes to it; false: the breaker refuses. Followed by one fitness_report. */
bool fitness_enter(struct backend *backend, const struct pool *pool, int64_t now_ms,
                   struct metrics *metrics, uint64_t *trial);
/* How the attempt went. `metrics` may be NULL. */
void fitness_report(struct backend *backend, const struct pool *pool, uint64_t trial,
                    enum fitness_outcome outcome, int64_t now_ms, uint64_t random,
                    struct metrics *metrics);
/* The result of a health check; the health thread alone. True: the state changed. */
bool fitness_checked(struct backend *backend, const struct pool *pool,
                     const struct health_config *rules, bool good, int64_t now_ms,
                     struct metrics *metrics);
/* Health is not checked any more: it counts as up. */
void fitness_unchecked(struct backend *backend);

#endif
