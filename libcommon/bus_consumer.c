/* A durable pull consumer on a thread of its own. It asks for a batch, handles it, asks again; any
 * way in which the batch can fail to come (reconnect, a consumer or a stream that was deleted, a
 * server that forgot the request) ends in asking again, with the consumer made anew if need be. */
#include "libcommon/bus_internal.h"

#include "libcommon/log.h"

#include <inttypes.h>
#include <string.h>

#define BATCH      32
#define EXPIRES_MS 5000
#define SLICE_MS   250 /* how soon a stop is seen */
#define RETRY_MS   1000

struct bus_consumer {
    struct bus *bus;
    char *stream;
    char *durable;
    int64_t ack_wait_ms;
    bus_handler *handler;
    void *ctx;
    pthread_t thread;
    bool stopping; /* atomic */

    /* Of the thread alone. */
    natsSubscription *inbox; /* NULL: none */
    char *prefix;            /* the inbox's subject without its last part */
    bool ensured;
    bool failing; /* was logged */
    uint64_t fetch;
};

enum outcome { HANDLED, NOTHING, ENDED, LOST, GONE };

static bool stopping(struct bus_consumer *consumer)
{
    return __atomic_load_n(&consumer->stopping, __ATOMIC_ACQUIRE);
}

static void pause_ms(struct bus_consumer *consumer, int64_t ms)
{
    int64_t deadline = bus_now_ms() + ms;
    pthread_mutex_lock(&consumer->bus->lock);
    while (!stopping(consumer) && bus_now_ms() < deadline)
        bus_wait(consumer->bus, deadline);
    pthread_mutex_unlock(&consumer->bus->lock);
}

static void drop_inbox(struct bus_consumer *consumer)
{
    natsSubscription_Destroy(consumer->inbox);
    consumer->inbox = NULL;
    free(consumer->prefix);
    consumer->prefix = NULL;
}

static int open_inbox(struct bus_consumer *consumer, struct err *err)
{
    if (consumer->inbox != NULL)
        return 0;
    consumer->prefix = bus_inbox(consumer->bus);
    AUTO_FREE char *subject = mem_printf("%s.*", consumer->prefix);
    struct bus *bus = consumer->bus;
    pthread_rwlock_rdlock(&bus->nc_lock);
    natsStatus s = bus->nc == NULL
                       ? NATS_CONNECTION_DISCONNECTED
                       : natsConnection_SubscribeSync(&consumer->inbox, bus->nc, subject);
    pthread_rwlock_unlock(&bus->nc_lock);
    if (s == NATS_OK)
        return 0;
    drop_inbox(consumer);
    return bus_fail(s, subject, err);
}

/* Consumer and inbox are there. One log line for each change of state. */
static bool prepared(struct bus_consumer *consumer)
{
    struct err err = {""};
    if (!consumer->ensured &&
        bus_consumer_ensure(consumer->bus, consumer->stream, consumer->durable,
                            consumer->ack_wait_ms, &err) == 0)
        consumer->ensured = true;
    bool ok = consumer->ensured && open_inbox(consumer, &err) == 0;
    if (!ok && !consumer->failing)
        log_warn("a consumer waits for its stream", LOG_STR(NAME, consumer->durable),
                 LOG_STR(ERROR, err.msg));
    if (ok && consumer->failing)
        log_info("a consumer has its stream again", LOG_STR(NAME, consumer->durable));
    consumer->failing = !ok;
    return ok;
}

static int request_batch(struct bus_consumer *consumer, struct err *err)
{
    struct bus *bus = consumer->bus;
    AUTO_FREE char *subject =
        mem_printf("$JS.API.CONSUMER.MSG.NEXT.%s.%s", consumer->stream, consumer->durable);
    AUTO_FREE char *inbox = mem_printf("%s.%" PRIu64, consumer->prefix, ++consumer->fetch);
    AUTO_FREE char *body = mem_printf("{\"batch\": %d, \"expires\": %" PRId64 "}", BATCH,
                                      (int64_t)EXPIRES_MS * 1000000);
    pthread_rwlock_rdlock(&bus->nc_lock);
    natsStatus s = bus->nc == NULL
                       ? NATS_CONNECTION_DISCONNECTED
                       : natsConnection_PublishRequestString(bus->nc, subject, inbox, body);
    pthread_rwlock_unlock(&bus->nc_lock);
    return s == NATS_OK ? 0 : bus_fail(s, subject, err);
}

/* What a message without content says: it carries a status instead. */
static enum outcome judge_status(struct bus_consumer *consumer, natsMsg *msg)
{
    const char *status = NULL, *text = NULL;
    if (natsMsg_IsNoResponders(msg))
        return GONE;
    if (natsMsgHeader_Get(msg, "Status", &status) != NATS_OK)
        return NOTHING;
    if (natsMsgHeader_Get(msg, "Description", &text) != NATS_OK)
        text = "";
    if (strcmp(status, "409") == 0 && strcasestr(text, "consumer") != NULL)
        return GONE;
    if (strcmp(status, "100") == 0)
        return NOTHING;
    /* The end of an earlier request says nothing about this one. */
    const char *subject = natsMsg_GetSubject(msg);
    return strtoull(subject + strlen(consumer->prefix) + 1, NULL, 10) == consumer->fetch ? ENDED
                                                                                         : NOTHING;
}

static enum outcome receive_one(struct bus_consumer *consumer, int64_t wait_ms)
{
    natsMsg *native = NULL;
    natsStatus s = natsSubscription_NextMsg(&native, consumer->inbox, wait_ms);
    if (s == NATS_TIMEOUT)
        return NOTHING;
    if (s != NATS_OK)
        return LOST;
    const char *reply = natsMsg_GetReply(native);
    enum outcome outcome = HANDLED;
    if (reply == NULL || *reply == '\0') {
        outcome = judge_status(consumer, native);
    } else {
        struct bus_msg msg = {consumer->bus, native};
        if (stopping(consumer))
            bus_msg_nak(&msg, 0);
        else
            consumer->handler(consumer->ctx, &msg);
    }
    natsMsg_Destroy(native);
    return outcome;
}

/* One batch: until it is complete, ended by the server, expired, or the connection changed. */
static void run_batch(struct bus_consumer *consumer)
{
    unsigned epoch = bus_epoch(consumer->bus);
    int64_t deadline = bus_now_ms() + EXPIRES_MS + 2 * SLICE_MS;
    for (int got = 0; got < BATCH && !stopping(consumer) && bus_now_ms() < deadline;) {
        switch (receive_one(consumer, SLICE_MS)) {
        case HANDLED:
            got++;
            deadline = bus_now_ms() + EXPIRES_MS + 2 * SLICE_MS;
            break;
        case NOTHING:
            if (bus_epoch(consumer->bus) != epoch) {
                consumer->ensured = false; /* the server may have come back without its state */
                return;
            }
            break;
        case ENDED:
            return;
        case LOST:
            drop_inbox(consumer);
            return;
        case GONE:
            consumer->ensured = false;
            return;
        }
    }
    /* A server that knows the consumer says that the request has ended. */
    if (bus_now_ms() >= deadline)
        consumer->ensured = false;
}

static void *consume(void *arg)
{
    struct bus_consumer *consumer = arg;
    struct err err;
    while (!stopping(consumer)) {
        if (!bus_wait_connected(consumer->bus, bus_now_ms() + SLICE_MS))
            continue;
        if (!prepared(consumer) || request_batch(consumer, &err) != 0) {
            pause_ms(consumer, RETRY_MS);
            continue;
        }
        run_batch(consumer);
    }
    /* What came and was not handled goes to another instance at once. */
    while (consumer->inbox != NULL && receive_one(consumer, 1) == HANDLED)
        ;
    drop_inbox(consumer);
    return NULL;
}

static bool valid_token(const char *name)
{
    return *name != '\0' && strcspn(name, ".*> \t\r\n") == strlen(name);
}

int bus_consume(struct bus *bus, const char *stream, const char *durable, int64_t ack_wait_ms,
                bus_handler *handler, void *ctx, struct bus_consumer **out, struct err *err)
{
    if (!valid_token(stream) || !valid_token(durable))
        return err_set(err, "nats: the name of a stream or a consumer is not valid");
    struct bus_consumer *consumer = mem_zalloc(sizeof(*consumer));
    consumer->bus = bus;
    consumer->stream = mem_strdup(stream);
    consumer->durable = mem_strdup(durable);
    consumer->ack_wait_ms = ack_wait_ms;
    consumer->handler = handler;
    consumer->ctx = ctx;
    if (pthread_create(&consumer->thread, NULL, consume, consumer) != 0)
        abort();
    *out = consumer;
    return 0;
}

void bus_consumer_stop(struct bus_consumer **consumerp)
{
    struct bus_consumer *consumer = *consumerp;
    if (consumer == NULL)
        return;
    *consumerp = NULL;
    __atomic_store_n(&consumer->stopping, true, __ATOMIC_RELEASE);
    pthread_mutex_lock(&consumer->bus->lock);
    pthread_cond_broadcast(&consumer->bus->changed);
    pthread_mutex_unlock(&consumer->bus->lock);
    pthread_join(consumer->thread, NULL);
    free(consumer->stream);
    free(consumer->durable);
    free(consumer);
}
