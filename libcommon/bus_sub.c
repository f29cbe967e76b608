/* Subscriptions: what a service asked to hear, kept apart from the connection object, so that it
 * may be asked for before there is one and is asked for again when there is a new one. */
#include "libcommon/bus_internal.h"

#include "libcommon/log.h"

#include <string.h>

#define COMPLETE_MS 5000

struct bus_sub {
    struct bus_sub *next;
    struct bus *bus;
    char *subject;
    char *queue; /* NULL: none */
    bus_handler *handler;
    void *ctx;
    /* Under the bus's lock. */
    natsSubscription *handle; /* NULL: not established */
    unsigned running;         /* handles whose thread may still call the handler */
};

const char *bus_msg_subject(const struct bus_msg *msg)
{
    return natsMsg_GetSubject(msg->msg);
}

const char *bus_msg_data(const struct bus_msg *msg, size_t *len)
{
    *len = (size_t)natsMsg_GetDataLength(msg->msg);
    return *len == 0 ? "" : natsMsg_GetData(msg->msg);
}

int bus_msg_reply(struct bus_msg *msg, const void *data, size_t len, struct err *err)
{
    const char *reply = natsMsg_GetReply(msg->msg);
    if (reply == NULL || *reply == '\0')
        return err_set(err, "nats: %s: the message asks for no answer", bus_msg_subject(msg));
    return bus_publish(msg->bus, reply, data, len, err);
}

static void on_message(natsConnection *nc, natsSubscription *handle, natsMsg *native, void *ctx)
{
    (void)nc;
    (void)handle;
    struct bus_sub *sub = ctx;
    struct bus_msg msg = {sub->bus, native};
    sub->handler(sub->ctx, &msg);
    natsMsg_Destroy(native);
}

/* The handle's thread has called the handler for the last time. */
static void on_complete(void *ctx)
{
    struct bus_sub *sub = ctx;
    struct bus *bus = sub->bus;
    pthread_mutex_lock(&bus->lock);
    sub->running--;
    pthread_cond_broadcast(&bus->changed);
    pthread_mutex_unlock(&bus->lock);
}

/* Under nc_lock and lock. */
static natsStatus attach(struct bus_sub *sub)
{
    natsStatus s;
    natsConnection *nc = sub->bus->nc;
    if (sub->queue != NULL)
        s = natsConnection_QueueSubscribe(&sub->handle, nc, sub->subject, sub->queue, on_message,
                                          sub);
    else
        s = natsConnection_Subscribe(&sub->handle, nc, sub->subject, on_message, sub);
    if (s != NATS_OK) {
        sub->handle = NULL;
        return s;
    }
    /* Refused only where the subscription has ended already. */
    if (natsSubscription_SetOnCompleteCB(sub->handle, on_complete, sub) == NATS_OK)
        sub->running++;
    return NATS_OK;
}

void bus_subs_attach(struct bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    for (struct bus_sub *sub = bus->subs; sub != NULL; sub = sub->next)
        if (sub->handle == NULL && attach(sub) != NATS_OK)
            log_error("nats subscription failed", LOG_STR(SUBJECT, sub->subject));
    pthread_mutex_unlock(&bus->lock);
}

/* Under the lock, which is left while waiting: until no thread is in the handler any more. */
static void wait_complete(struct bus_sub *sub)
{
    int64_t deadline = bus_now_ms() + COMPLETE_MS;
    while (sub->running > 0 && bus_now_ms() < deadline)
        bus_wait(sub->bus, deadline);
}

static void detach(struct bus_sub *sub)
{
    natsSubscription *handle = sub->handle;
    sub->handle = NULL;
    if (handle == NULL)
        return;
    pthread_mutex_unlock(&sub->bus->lock); /* the library may call on_complete from in here */
    natsSubscription_Destroy(handle);
    pthread_mutex_lock(&sub->bus->lock);
    wait_complete(sub);
}

void bus_subs_detach(struct bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    for (struct bus_sub *sub = bus->subs; sub != NULL; sub = sub->next)
        detach(sub);
    pthread_mutex_unlock(&bus->lock);
}

static void free_sub(struct bus_sub *sub)
{
    free(sub->subject);
    free(sub->queue);
    free(sub);
}

void bus_subs_free(struct bus *bus)
{
    while (bus->subs != NULL) {
        struct bus_sub *sub = bus->subs;
        bus->subs = sub->next;
        free_sub(sub);
    }
}

int bus_subscribe(struct bus *bus, const char *subject, const char *queue, bus_handler *handler,
                  void *ctx, struct bus_sub **out, struct err *err)
{
    struct bus_sub *sub = mem_zalloc(sizeof(*sub));
    sub->bus = bus;
    sub->subject = mem_strdup(subject);
    sub->queue = queue == NULL ? NULL : mem_strdup(queue);
    sub->handler = handler;
    sub->ctx = ctx;
    pthread_rwlock_rdlock(&bus->nc_lock);
    pthread_mutex_lock(&bus->lock);
    natsStatus s = bus->nc == NULL || bus->closed ? NATS_OK : attach(sub);
    if (s == NATS_OK) {
        sub->next = bus->subs;
        bus->subs = sub;
    }
    pthread_mutex_unlock(&bus->lock);
    pthread_rwlock_unlock(&bus->nc_lock);
    if (s != NATS_OK) {
        free_sub(sub);
        return bus_fail(s, subject, err);
    }
    if (out != NULL)
        *out = sub;
    return 0;
}

void bus_unsubscribe(struct bus_sub **subp)
{
    struct bus_sub *sub = *subp;
    if (sub == NULL)
        return;
    *subp = NULL;
    struct bus *bus = sub->bus;
    pthread_mutex_lock(&bus->lock);
    struct bus_sub **at = &bus->subs;
    while (*at != sub)
        at = &(*at)->next;
    *at = sub->next;
    detach(sub);
    pthread_mutex_unlock(&bus->lock);
    free_sub(sub);
}
