/* The billing thread's account of leases: which it holds for each subscription, which workers have
 * them, how much to ask for next. It talks to nobody: what is to be asked is collected from it, the
 * answers are told to it, and what workers must hear goes through its operations. */
#ifndef PROXY_LEASE_BOOK_H
#define PROXY_LEASE_BOOK_H

#include "services/proxy/lease.h"

#define LEASE_BOOK_WORKERS 256

struct lease_book_ops {
    void *ctx;
    /* A worker may spend this; the reference is the worker's. */
    void (*lend)(void *ctx, unsigned worker, struct lease *lease);
    /* There is no more for it; refused is NULL where subd did not answer. */
    void (*deny)(void *ctx, unsigned worker, const char *sub, const struct lease_refused *refused);
    /* A granted lease is written down before it is spent; false: it cannot be. */
    bool (*anchor)(void *ctx, const struct lease_grant *grant);
    /* Nothing refers to this lease any more. Any thread. */
    void (*closed)(void *ctx, int64_t lease);
};

struct lease_book_want {
    unsigned worker;
    char sub[SUB_ID_LEN + 1];
    bool limited[SUB_KINDS]; /* by the subscription's limits */
    int64_t waiting;         /* requests that wait for it */
    bool messages;           /* a WebSocket has spent its messages: some are wanted too */
    bool no_requests;        /* for what goes on already, where there are no more requests */
    int64_t cost;            /* a query that waits weighs so much; 0: none does */
};

struct lease_book;

/* The operations are kept, not copied. A slice is what recent use takes `ahead_s` seconds for. */
struct lease_book *lease_book_new(const struct lease_book_ops *ops, int64_t ahead_s);
/* Gives up all leases. */
void lease_book_free(struct lease_book **book);

/* A worker needs (more of) this. What it has not seen yet is lent at once. */
void lease_book_want(struct lease_book *book, const struct lease_book_want *want, int64_t now_ns);
/* Something is to be asked for. */
bool lease_book_wanting(const struct lease_book *book);
/* What to ask for, at most max; each of them is to be answered by one of the following. */
size_t lease_book_collect(struct lease_book *book, struct lease_ask *asks, size_t max,
                          int64_t now_ns);
void lease_book_granted(struct lease_book *book, const struct lease_grant *grant, int64_t sent_ns,
                        int64_t now_ns);
void lease_book_refused(struct lease_book *book, const struct lease_refused *refused);
/* Does nothing where it was answered. */
void lease_book_failed(struct lease_book *book, const char *sub);

/* Its terms have changed: what is held was granted under the old ones. */
void lease_book_changed(struct lease_book *book, const char *sub);
/* Ends what is spent, idle or over. Now and then. */
void lease_book_sweep(struct lease_book *book, int64_t now_ns);
/* Leases that are held. */
size_t lease_book_count(const struct lease_book *book);

#endif
