/* What the threads of one quoted share: the stores, the signing key, and the price book that is in
 * force. */
#ifndef QUOTED_QUOTED_H
#define QUOTED_QUOTED_H

#include "libcommon/bus.h"
#include "libcommon/clock.h"
#include "libcommon/http_server.h"
#include "libcommon/http_store.h"
#include "libcommon/pg.h"
#include "libcommon/redis.h"
#include "services/quoted/keyring.h"
#include "services/quoted/selling.h"
#include "services/quoted/settings.h"
#include "services/quoted/tally.h"
#include "services/quoted/watch.h"

#include <pthread.h>
#include <stdatomic.h>

struct selling {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t woken;
    bool stopping, look;
    struct selling_view view;
};

struct quoted {
    struct service *service;
    _Atomic(const struct settings *)
        settings; /* of the last reload; the one before it stays valid */
    struct metrics *metrics;
    const struct clock *clock;
    struct pricebook_chain chain;
    struct pg *pg;
    struct redis *redis;
    struct bus *bus;
    struct bus_asker *asker;
    struct watch *watch;
    struct selling selling;
    struct tally kept, remembered, idempotent;
    _Atomic int64_t subd_pause_ms; /* monotonic: until then subd is not asked */
    struct http_store *store;
    struct http_server *http;

    pthread_rwlock_t keys_lock; /* read by who signs */
    struct keyring *keys;
    char signer[43]; /* the contract's, as payd said last; "": not known */

    pthread_t publisher;
    bool publishing; /* the thread was started */
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool stopping;
    struct pricebook *book; /* in force: its plans are in the database; NULL until then */
    struct pricebook *next; /* to be published; NULL: nothing to do */

    atomic_bool seen_postgres, seen_redis, seen_nats; /* since the start */
};

/* The book that quotes are made of, NULL while there is none. The caller gives it back. */
struct pricebook *quoted_book(struct quoted *quoted);
/* The same, or the one that waits for the database: what is shown as prices. Never NULL. */
struct pricebook *quoted_shown(struct quoted *quoted);
void quoted_give_back(struct quoted *quoted, struct pricebook **book);

/* What payd says of the contract's signer. Whether one of our keys is it. */
bool quoted_can_sign(struct quoted *quoted, const char *signer);
/* Takes the keys, and frees those before; -1: the contract's signer was there and would be lost. */
int quoted_rekey(struct quoted *quoted, struct keyring **keys, struct err *err) MUST_USE;

/* Takes the book and publishes it in the background, as soon as the database is there. */
void quoted_publish(struct quoted *quoted, struct pricebook *book);
void quoted_start(struct quoted *quoted);
void quoted_stop(struct quoted *quoted);

#endif
