/* NATS: request/reply, publish, JetStream, with reconnect for ever and subscriptions that survive
 * it. Handlers run on threads of the library, one a subscription. Payloads are bounded by
 * BUS_MAX_PAYLOAD. */
#ifndef LIBCOMMON_BUS_H
#define LIBCOMMON_BUS_H

#include "libcommon/config.h"
#include "libcommon/err.h"
#include "libcommon/mem.h"

#define BUS_MAX_PAYLOAD (1024 * 1024)

/* The `nats` section of a configuration. */
struct bus_config {
    struct config_list urls; /* const char * */
    const char *credentials; /* "user:password", or the path of a .creds file; empty: none */
};
extern const struct config_schema bus_config_schema;

struct bus;
struct bus_sub;
struct bus_msg;

struct bus_options {
    const struct bus_config *config;
    const char *name; /* the connection's name, and its inbox prefix: _INBOX_<name> */
    void (*on_health)(void *ctx, bool ok, const char *detail);
    void *ctx;
};

/* Connects in the background where the server is away. -1: the configuration is wrong. */
int bus_new(const struct bus_options *options, struct bus **out, struct err *err) MUST_USE;
/* Drains subscriptions, then closes. */
void bus_free(struct bus **bus);
bool bus_connected(struct bus *bus);

int bus_publish(struct bus *bus, const char *subject, const void *data, size_t len,
                struct err *err) MUST_USE;
/* *reply is the caller's to free; it is NUL-terminated. -1 on timeout, no responder, or no
 * connection. */
int bus_request(struct bus *bus, const char *subject, const void *data, size_t len,
                int64_t timeout_ms, char **reply, size_t *reply_len, struct err *err) MUST_USE;

/* Several requests at the same time: bus_ask sends one, bus_ask_wait waits for its answer and ends
 * it whatever came; bus_ask_drop ends one whose answer is not wanted (*ask may be NULL). */
struct bus_asker;
struct bus_ask;
int bus_asker_new(struct bus *bus, struct bus_asker **out, struct err *err) MUST_USE;
/* After the last request has ended. */
void bus_asker_free(struct bus_asker **asker);
int bus_ask(struct bus_asker *asker, const char *subject, const void *data, size_t len,
            struct bus_ask **out, struct err *err) MUST_USE;
int bus_ask_wait(struct bus_ask **ask, int64_t timeout_ms, char **reply, size_t *len,
                 struct err *err) MUST_USE;
void bus_ask_drop(struct bus_ask **ask);

typedef void bus_handler(void *ctx, struct bus_msg *msg); /* a function type, not a struct */
const char *bus_msg_subject(const struct bus_msg *msg);
const char *bus_msg_data(const struct bus_msg *msg, size_t *len); /* NUL-terminated */
/* For requests: the answer. Once. */
int bus_msg_reply(struct bus_msg *msg, const void *data, size_t len, struct err *err) MUST_USE;
/* For JetStream: done, or again after delay_ms. Unanswered is delivered again after the consumer's
 * ack_wait. */
void bus_msg_ack(struct bus_msg *msg);
void bus_msg_nak(struct bus_msg *msg, int64_t delay_ms);
/* How often it was delivered, this time included; 0: not known. */
int64_t bus_msg_deliveries(const struct bus_msg *msg);

/* Delivers `subject` (wildcards allowed) to the handler; with a queue, each message to one member.
 * Works while disconnected: it is established on connect. */
int bus_subscribe(struct bus *bus, const char *subject, const char *queue, bus_handler *handler,
                  void *ctx, struct bus_sub **out, struct err *err) MUST_USE;
void bus_unsubscribe(struct bus_sub **sub);

struct bus_stream {
    const char *name;
    const char *subject; /* one, or several with a space between; wildcards allowed */
    bool work_queue;
    int64_t max_per_subject; /* 0: no bound */
    int64_t max_age_ms;      /* 0: for ever */
    int64_t max_bytes;       /* 0: no bound; new messages are refused when full, except where
                                max_per_subject replaces the old, or with drop_oldest */
    bool drop_oldest;        /* when full, the oldest messages make room */
};

/* Creates it file-stored, or updates it to this. Waits up to timeout_ms for the server. */
int bus_stream_ensure(struct bus *bus, const struct bus_stream *stream, int64_t timeout_ms,
                      struct err *err) MUST_USE;
/* Publishes to a stream and waits for its acknowledgement; `id` (may be NULL) is Nats-Msg-Id. */
int bus_stream_publish(struct bus *bus, const char *subject, const char *id, const void *data,
                       size_t len, int64_t timeout_ms, struct err *err) MUST_USE;
/* A durable consumer with explicit acks, shared by all instances that name it: pulls batches on a
 * thread of its own and calls the handler one message at a time; goes on through reconnects and a
 * stream that is made again. */
struct bus_consumer;
int bus_consume(struct bus *bus, const char *stream, const char *durable, int64_t ack_wait_ms,
                bus_handler *handler, void *ctx, struct bus_consumer **out,
                struct err *err) MUST_USE;
void bus_consumer_stop(struct bus_consumer **consumer);

#endif
