/* What the threads of one adminsvc share. */
#ifndef ADMINSVC_ADMINSVC_H
#define ADMINSVC_ADMINSVC_H

#include "libcommon/clock.h"
#include "libcommon/http_server.h"
#include "libcommon/pg.h"
#include "services/adminsvc/failures.h"
#include "services/adminsvc/settings.h"

#include <pthread.h>
#include <stdatomic.h>

struct adminsvc {
    struct service *service;
    const struct settings *settings;
    struct metrics *metrics;
    const struct clock *clock;
    struct pg *pg;
    struct bus *bus;
    struct failures *failures;
    struct http_server *http;

    pthread_t clerk; /* prepares the database, then writes sums of failures */
    bool working;    /* the thread was started */
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool stopping;
    atomic_bool ready; /* tables are there, and the first key */
};

void adminsvc_start(struct adminsvc *admin);
/* Writes what is left of failures. */
void adminsvc_stop(struct adminsvc *admin);

#endif
