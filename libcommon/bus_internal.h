/* What bus.c (the connection), bus_sub.c and bus_stream.c share; for nobody else. */
#ifndef LIBCOMMON_BUS_INTERNAL_H
#define LIBCOMMON_BUS_INTERNAL_H

#include "libcommon/bus.h"

#include <nats/nats.h>
#include <pthread.h>

struct bus {
    char *name;
    natsOptions *options;
    void (*on_health)(void *ctx, bool ok, const char *detail);
    void *ctx;
    pthread_t supervisor;

    /* The connection object is replaced only where the library has given it up; who uses it holds
     * this for reading. */
    pthread_rwlock_t nc_lock;
    natsConnection *nc; /* NULL: not made yet */

    pthread_mutex_t telling; /* health is told in the order in which it changed; before `lock` */
    pthread_mutex_t lock;    /* guards everything below */
    pthread_cond_t changed;
    unsigned epoch; /* grows with each connect */
    bool connected, told, stopping;
    bool closed; /* the library has given nc up, or there is none */
    struct bus_sub *subs;
};

struct bus_msg {
    struct bus *bus;
    natsMsg *msg;
};

/* Monotonic milliseconds, and a wait on `changed` (lock held) that ends there. */
int64_t bus_now_ms(void);
void bus_wait(struct bus *bus, int64_t deadline_ms);
/* Waits for a connection; false: none by then. */
bool bus_wait_connected(struct bus *bus, int64_t deadline_ms);
unsigned bus_epoch(struct bus *bus);
/* "_INBOX_<name>.<32 random hex digits>"; the caller's. */
char *bus_inbox(const struct bus *bus);
int bus_fail(natsStatus status, const char *subject, struct err *err);
/* A message that asks for its answer at `reply`; NULL: for none. */
int bus_publish_reply(struct bus *bus, const char *subject, const char *reply, const void *data,
                      size_t len, struct err *err) MUST_USE;
/* A request with an optional Nats-Msg-Id. */
int bus_request_id(struct bus *bus, const char *subject, const char *id, const void *data,
                   size_t len, int64_t timeout_ms, char **reply, size_t *reply_len,
                   struct err *err) MUST_USE;

/* Creates the durable consumer, or updates it. */
int bus_consumer_ensure(struct bus *bus, const char *stream, const char *durable,
                        int64_t ack_wait_ms, struct err *err) MUST_USE;

/* Under nc_lock: (re)establishes every subscription on a new connection object. */
void bus_subs_attach(struct bus *bus);
/* Forgets the handles on a connection object that is gone, after their handlers returned. */
void bus_subs_detach(struct bus *bus);
void bus_subs_free(struct bus *bus);

#endif
