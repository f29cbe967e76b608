/* The process's paid side, for its own files: what workers ask of it, and the state of its two
 * threads. One talks to subd (billing_talk.c) and waits for answers so that no worker does; one
 * seals and publishes usage (billing_flush.c). */
#ifndef PROXY_BILLING_INTERNAL_H
#define PROXY_BILLING_INTERNAL_H

#include "services/proxy/billing.h"
#include "services/proxy/billing_head.h"
#include "services/proxy/billing_worker.h"
#include "services/proxy/journal.h"
#include "services/proxy/lease_book.h"

#include <pthread.h>

#define BILLING_CALL_MS          1000                         /* for an answer of subd */
#define BILLING_ANCHORS(billing) ((unsigned)(billing)->count) /* the talking thread's region */

struct billing_id {
    char text[SUB_ID_LEN + 1];
};

/* What the talking thread is to do. Arrays are owned. */
struct billing_queue {
    struct billing_id *checks;
    size_t check_count, check_cap;
    struct billing_id *changes; /* subscriptions whose leases are void */
    size_t change_count, change_cap;
    struct lease_book_want *wants;
    size_t want_count, want_cap;
    bool keys, recheck, stop;
};

struct billing {
    struct billing_config config;
    struct service *service;
    struct metrics *metrics;
    struct bus *bus;
    struct bus_sub *changes, *beats;
    struct billing_worker **workers;
    size_t count;

    _Atomic int64_t beat_ns; /* of the last heartbeat that said healthy, whichever instance's */
    _Atomic int64_t reconnected_ns;
    bool was_healthy, once_healthy; /* the talking thread's */

    pthread_mutex_t mutex; /* guards queue and head */
    pthread_cond_t wake;
    struct billing_queue queue;
    struct billing_head head;

    pthread_t talker, flusher;
    bool talking, flushing;

    struct lease_book *book; /* the talking thread's */
    struct lease_book_ops ops;
    int64_t asked_ns, keys_ns, swept_ns, recheck_ns;
    int64_t round, last_lease; /* of requests for leases, and of what they brought */
    bool lost;                 /* the last one had no answer */

    struct journal *journal;
    pthread_mutex_t journals_mutex; /* guards the list, which the flushing thread changes */
    struct journal *adopted[LEASE_JOURNALS_MAX - 1];
    size_t adopted_count;
    pthread_cond_t flush_wake;
    bool flush_stop;
    bool publish_failed;
    int64_t scanned_ns;
};

/* Any thread. */
bool billing_healthy(const struct billing *billing, int64_t now_ns);
/* How long ago subd was last heard to be healthy. */
int64_t billing_silent_ns(const struct billing *billing, int64_t now_ns);
int64_t billing_grace_s(const struct billing *billing);
const char *billing_issuer(const struct billing *billing);
struct journal *billing_journal(const struct billing *billing);
void billing_ask_sub(struct billing *billing, const char *id);
void billing_ask_lease(struct billing *billing, const struct lease_book_want *want);
void billing_ask_keys(struct billing *billing);

int64_t billing_now_ns(void);
void billing_queue_clear(struct billing_queue *queue);

/* billing_bus.c: what subd publishes. */
int billing_bus_open(struct billing *billing, struct err *err) MUST_USE;
void billing_bus_close(struct billing *billing);
/* billing_talk.c */
void *billing_talk(void *billing);
/* One lease request with what the book asks; also brings what is applied. */
void billing_talk_leases(struct billing *billing);
/* billing_flush.c */
void *billing_flush(void *billing);
/* The last batches: true when all is applied. */
bool billing_flush_end(struct billing *billing, int64_t timeout_ms);

#endif
