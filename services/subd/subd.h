/* What every part of subd works with: its connections, its clock, its keys. Made by main.c before
 * any part starts, and constant from then on. */
#ifndef SUBD_SUBD_H
#define SUBD_SUBD_H

#include "libcommon/bus.h"
#include "libcommon/clock.h"
#include "libcommon/metrics.h"
#include "libcommon/pg.h"
#include "libcommon/redis.h"
#include "services/subd/settings.h"

#include <stdatomic.h>

struct keyring;
struct ticker;

struct subd {
    const struct settings *settings;
    const struct clock *clock;
    struct metrics *metrics;
    struct pg *pg;
    struct redis *redis;
    struct bus *bus;
    struct keyring *keys;
    char authority[SETTINGS_AUTHORITY_MAX];
    struct quote_domain domain; /* whose subscriptions are honoured */
    char instance[64];
    atomic_bool migrated; /* the schema is there: before it, every request is `unavailable` */
    atomic_llong head;    /* last published change that this instance knows of */
    struct ticker *relay; /* woken after a change; NULL in tests without one */
};

#define SUBD_PG_WAIT_MS 2000

/* A session, once the schema is there. */
int subd_session(struct subd *subd, struct pg_conn **out, struct err *err) MUST_USE;
/* A change was committed: let the proxies hear of it. */
void subd_changed(struct subd *subd);

#endif
