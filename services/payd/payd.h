/* What the threads of one payd share: the stores, the bus, the stop flag, and what each tells the
 * others. */
#ifndef PAYD_PAYD_H
#define PAYD_PAYD_H

#include "libcommon/pg.h"
#include "services/payd/settings.h"

#include <pthread.h>
#include <stdatomic.h>

struct payd {
    struct service *service;
    const struct settings *settings;
    struct settings_target target;
    struct sign_key *receipt_key; /* NULL: no receipts */
    char instance[64];
    struct metrics *metrics;
    struct pg *pg;
    struct bus *bus;
    atomic_bool stop;
    atomic_int follower;     /* 0: the database is not ready yet */
    _Atomic int64_t epoch;   /* 0: this instance does not lead */
    atomic_bool refund_held; /* what should be sent back unasked cannot be; told of once */
    pthread_mutex_t lock;
    pthread_cond_t woken; /* stop was set, or there is something for the relay */
    uint64_t hints;       /* grows with each reason to look into the outbox */
};

/* What every client of the nodes starts from; calls are counted. */
struct rpc_options payd_rpc(const struct payd *payd);

void payd_init(struct payd *payd);
void payd_destroy(struct payd *payd);
/* true: stopping. */
bool payd_sleep(struct payd *payd, int64_t ms);
void payd_stop(struct payd *payd);
/* Wakes the relay. */
void payd_hint(struct payd *payd);
/* Waits until payd_hint was called since *seen, or ms are over; true: stopping. */
bool payd_wait_hint(struct payd *payd, uint64_t *seen, int64_t ms);

#endif
