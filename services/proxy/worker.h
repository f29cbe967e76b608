/* One loop thread: its event loop, its clock reading of this turn, its inbox for messages from
 * other threads. What a worker owns is touched by it alone. */
#ifndef PROXY_WORKER_H
#define PROXY_WORKER_H

#include "libcommon/metrics.h"

#include <h2o.h>
#include <stdint.h>

struct billing_worker;
struct worker_message;

struct worker {
    unsigned index;
    h2o_loop_t *loop;
    int64_t now_ns;  /* CLOCK_MONOTONIC, read once a loop turn */
    int64_t wall_ms; /* Unix time, read once a loop turn */
    struct metrics *metrics;
    struct billing_worker *billing; /* NULL without a billing section */
    struct worker_private *priv; /* connections, pools, timers, listeners: worker.c and friends */
};

/* Handed over whole: `run` is called once on the worker's thread and owns the message from then on.
 * Embed it first in your own struct. */
struct worker_message {
    h2o_multithread_message_t super;
    void (*run)(struct worker *worker, struct worker_message *message);
};

/* Any thread. */
void worker_send(struct worker *worker, struct worker_message *message);

#endif
