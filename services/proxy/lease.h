/* A slice of a subscription's quota that this process may spend without asking. Made by the billing
 * thread, spent by the workers: its balances are the one thing on the request path that threads
 * share (docs/decisions/0002-leases.md). */
#ifndef PROXY_LEASE_H
#define PROXY_LEASE_H

#include "libcommon/proto/lease.h"
#include "services/proxy/gcra.h"

#include <stdatomic.h>

/* What all leases of a subscription in this process share. */
struct lease_account {
    _Atomic unsigned refs;
    struct gcra rate;
};

struct lease {
    _Atomic unsigned refs;
    _Atomic bool retired; /* nothing more is spent on it */
    _Atomic bool asked;   /* somebody has asked for the next one */
    _Atomic bool used;    /* since the book last looked */
    _Atomic int64_t left[SUB_KINDS];
    int64_t granted[SUB_KINDS]; /* LEASE_UNLIMITED where the kind has no limit */
    int64_t deadline_ns, renew_ns;
    struct lease_account *account; /* referenced */
    struct lease_grant grant;
    void (*closed)(void *ctx, int64_t id); /* the last reference has gone */
    void *ctx;
};

struct lease_account *lease_account_new(void);
void lease_account_unref(struct lease_account *account);

/* `sent_ns`: when the request that was granted had been sent. One reference, the caller's. */
struct lease *lease_new(const struct lease_grant *grant, int64_t sent_ns,
                        struct lease_account *account, void (*closed)(void *ctx, int64_t id),
                        void *ctx);
struct lease *lease_ref(struct lease *lease);
void lease_unref(struct lease *lease);

/* May be spent now, as far as time goes. */
bool lease_live(const struct lease *lease, int64_t now_ns);
/* Nothing of some limited kind is left. */
bool lease_spent(const struct lease *lease);
/* All n or nothing; never below zero. */
bool lease_spend(struct lease *lease, enum sub_kind kind, int64_t n);
/* As much of n as there is; n where there is no limit. Returns what was taken. */
int64_t lease_spend_most(struct lease *lease, enum sub_kind kind, int64_t n);
/* Just now three quarters of it were spent: ask for more before it is all gone. */
bool lease_at_quarter(const struct lease *lease, enum sub_kind kind);
void lease_give_back(struct lease *lease, enum sub_kind kind, int64_t n);
/* For what is known only after it was used. Returns what is left, which may be below zero;
 * INT64_MAX where there is no limit. */
int64_t lease_charge(struct lease *lease, enum sub_kind kind, int64_t n);
/* true, once: little is left of it, or of its time, so the next one should be asked for. */
bool lease_running_low(struct lease *lease, int64_t now_ns);

#endif
