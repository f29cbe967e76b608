/* What a worker owns beyond its public face: timers, buffers, connections, counters. Private to the
 * data plane. */
#ifndef PROXY_WORKER_PRIVATE_H
#define PROXY_WORKER_PRIVATE_H

#include "services/proxy/access_line.h"
#include "services/proxy/http1.h"
#include "services/proxy/proxy.h"
#include "services/proxy/stats.h"
#include "services/proxy/timer.h"
#include "services/proxy/worker.h"

#include <pthread.h>

#define WORKER_BUFFER (72 * 1024) /* a body of 64 KiB and its head are one read */

/* In a drain: a request that is on the way already is waited for so long. A connection that is
 * closed the moment its request comes would lose it. */
#define DRAIN_GRACE_MS 1000

struct client;
struct exchange;
struct ingress;
struct h2_worker;
struct listener;
struct stream;
struct tcp;
struct tls_origin;
struct tls_thread;
struct upstream;

/* Freed when the loop's turn is over: what is still on the stack may look at it until then. */
struct grave {
    struct grave *next;
    void (*release)(struct worker *worker, struct grave *grave);
};

/* A backend as this worker sees it. Slots may move when a configuration is taken over. */
struct backend_slot {
    const struct pool *pool;      /* where it stands in the present generation; NULL: nowhere */
    const struct tls_origin *tls; /* as what its connections must have been verified; NULL: none */
    struct upstream *idle;        /* last used first */
    struct upstream *idle_last;
    unsigned idle_count;
    int64_t current_weight; /* of smooth weighted round robin */
};

/* Each is entered once, in this order; RUNNING may be left out. */
enum worker_phase { WORKER_NEW, WORKER_READY, WORKER_RUNNING, WORKER_ENDED, WORKER_RELEASED };

struct worker_private {
    struct worker *worker;
    struct proxy *proxy;
    const struct generation *generation; /* what new requests begin with */
    struct timer_wheel timers;
    struct stats stats;
    uint64_t turn, clock_turn;
    atomic_int_fast64_t turn_ns; /* when this turn began; 0: the loop sleeps; for the watchdog */
    char *buffer;                /* WORKER_BUFFER: what was just read */
    char *scratch;               /* a head that is being built */
    size_t scratch_size;
    struct http1_field *fields; /* of a head that is being read: limits.headers */
    struct http1_limits limits;
    struct backend_slot *backends; /* by backend id */
    size_t backend_count;
    struct listener *listeners;
    struct client *clients;
    struct ingress *ingress, *ingress_last; /* not at their protocol yet; the oldest first */
    size_t ingress_count;
    int64_t tls_told_ms;    /* a failed handshake with an origin was logged */
    struct tls_thread *tls; /* NULL: nobody spoke TLS yet */
    struct stream *streams;
    struct timer stream_timer;  /* of a drain */
    struct h2_worker *h2;       /* NULL: no connection of HTTP/2 yet */
    struct tcp *tunnels;        /* of listeners in mode tcp */
    struct upstream *upstreams; /* all, for the end */
    int64_t idle_upstreams;
    struct grave *graves;
    struct exchange *exchanges; /* under way; the newest first */
    struct exchange *spare;     /* for reuse */
    unsigned spare_count;
    struct access_clock access_clock;
    int64_t date_s;
    char date[48]; /* "Date: ...\r\n" */
    size_t date_len;
    uint64_t random[2];
    h2o_multithread_queue_t *queue;
    h2o_multithread_receiver_t receiver;
    pthread_t thread;
    pthread_mutex_t lock; /* of phase */
    pthread_cond_t changed;
    enum worker_phase phase;
    bool stopping;
};

/* At the entry of every callback of the loop: reads the clocks, once a turn. */
void worker_read_clock(struct worker *worker);

static inline void worker_tick(struct worker *worker)
{
    if (worker->priv->clock_turn != worker->priv->turn)
        worker_read_clock(worker);
}

static inline int64_t worker_now_ms(const struct worker *worker)
{
    return worker->now_ns / 1000000;
}

void worker_bury(struct worker *worker, struct grave *grave,
                 void (*release)(struct worker *worker, struct grave *grave));
uint64_t worker_random(struct worker *worker);
/* The line "Date: ...\r\n" of this second. */
h2o_iovec_t worker_date(struct worker *worker);

/* With its thread, which waits for worker_start. *out is set on failure too: worker_free it. */
int worker_new(struct proxy *proxy, unsigned index, struct worker **out, struct err *err) MUST_USE;
void worker_start(struct worker *worker);
/* Once started: begins to accept. */
void worker_accept(struct worker *worker);
/* Closes listeners and idle connections; the rest ends with its request. */
void worker_drain(struct worker *worker);
/* Closes everything, and returns when it is; messages may still be sent, and are dropped. */
void worker_stop(struct worker *worker);
void worker_free(struct worker **worker);

#endif
