/* The paid side of one loop thread: its keys, tokens, subscriptions and leases, and the requests
 * that wait for them. What comes from other threads goes through its inbox. */
#ifndef PROXY_BILLING_WORKER_H
#define PROXY_BILLING_WORKER_H

#include "services/proxy/billing_keys.h"
#include "services/proxy/subtable.h"
#include "services/proxy/timer.h"
#include "services/proxy/token_cache.h"
#include "services/proxy/worker.h"

#include <pthread.h>

#define BILLING_WAIT_NS  (1000LL * 1000 * 1000) /* a request waits no longer */
#define BILLING_RETRY_NS (250LL * 1000 * 1000)  /* a failure is not tried again before */

struct billing;
struct request;

enum billing_note_kind {
    BILLING_RECORDS, /* what subd says of subscriptions */
    BILLING_UNKNOWN, /* they could not be asked for */
    BILLING_KEYS,
    BILLING_KEYS_FAILED,
    BILLING_LEASE,
    BILLING_DENIED,
    BILLING_RECHECK, /* changes were missed: ask for all again */
};

/* A message to a worker. */
struct billing_note {
    struct billing_note *next;
    enum billing_note_kind kind;
    struct billing_keys *keys; /* referenced */
    struct lease *lease;       /* referenced */
    char sub[SUB_ID_LEN + 1];  /* DENIED */
    bool answered;             /* DENIED by subd: `refused` */
    struct lease_refused refused;
    size_t count;
    struct sub_record records[]; /* of UNKNOWN only the ids */
};

struct billing_worker {
    struct worker *worker;
    struct billing *billing;
    struct billing_keys *keys; /* NULL: none came yet */
    int64_t keys_asked_ns;     /* 0: never */
    bool keys_pending, keys_failed;
    struct token_cache *tokens;
    struct subtable *subs;
    struct billing_waits shares;   /* all that are in purses */
    struct billing_waits key_wait; /* requests that wait for keys */
    struct billing_waits ages;     /* all that wait, oldest first */
    unsigned waiting;
    struct timer timer;
    struct metric_cell *cached, *verified, *refused, *waiting_gauge;

    pthread_mutex_t mutex; /* guards the inbox */
    struct billing_note *inbox, **inbox_end;
    bool rung;
};

struct billing_worker *billing_worker_new(struct billing *billing, struct worker *worker);
/* After its thread has ended. */
void billing_worker_free(struct billing_worker **bw);

/* Any thread; the note is handed over. */
struct billing_note *billing_note_new(enum billing_note_kind kind, size_t count);
void billing_worker_post(struct billing_worker *bw, struct billing_note *note);

/* The rest is the worker's. */

/* Parks a request: `again` is called when what it waits for may have come, or when it has waited
 * too long (billing_worker_late). false: too many wait. */
bool billing_worker_park(struct billing_worker *bw, struct billing_wait *wait,
                         struct billing_waits *waits, struct request *request,
                         void (*again)(struct request *request));
void billing_worker_unpark(struct billing_worker *bw, struct billing_wait *wait);
bool billing_worker_late(const struct billing_worker *bw, const struct billing_wait *wait);
/* subd cannot be asked: what is known is honoured for the grace period. */
bool billing_worker_degraded(const struct billing_worker *bw);
void billing_worker_ask_sub(struct billing_worker *bw, struct subscription *sub);
void billing_worker_ask_lease(struct billing_worker *bw, struct subscription *sub);
/* For an exchange that goes on: also where no more requests are to be had. */
void billing_worker_ask_on(struct billing_worker *bw, struct subscription *sub);
/* The same, where messages are wanted too. */
void billing_worker_ask_messages(struct billing_worker *bw, struct subscription *sub);
/* The same, where a query waits that weighs so much. */
void billing_worker_ask_cost(struct billing_worker *bw, struct subscription *sub, int64_t cost);
/* true: they are on the way; false: they came a short while ago. */
bool billing_worker_ask_keys(struct billing_worker *bw);
int64_t billing_worker_wall_s(const struct billing_worker *bw);
/* Longer without a word of subd than a token of so many seconds, issued with its last one, and the
 * grace period after it last: what goes on would go on unseen, revoked or not. */
bool billing_worker_cut_off(const struct billing_worker *bw, int64_t token_s);

#endif
