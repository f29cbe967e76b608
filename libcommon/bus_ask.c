/* Several requests of one thread under way at the same time: each is sent with a reply subject of
 * its own below one inbox, and whoever waits for it is woken by the one subscription to that inbox.
 * The library's own request blocks, so two of them would take as long as both together. */
#include "libcommon/bus_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bus_ask {
    struct bus_asker *asker;
    struct bus_ask *next; /* of those under way */
    uint64_t id;
    char *subject;
    bool answered;
    natsStatus status;
    char *reply;
    size_t len;
};

struct bus_asker {
    struct bus *bus;
    struct bus_sub *sub;
    char *inbox;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t answered;
    struct bus_ask *under_way;
    uint64_t last_id;
};

/* Under the lock; takes it off the list. NULL: nobody waits any more. */
static struct bus_ask *take(struct bus_asker *asker, uint64_t id)
{
    for (struct bus_ask **at = &asker->under_way; *at != NULL; at = &(*at)->next) {
        struct bus_ask *ask = *at;
        if (ask->id != id)
            continue;
        *at = ask->next;
        return ask;
    }
    return NULL;
}

static void on_reply(void *ctx, struct bus_msg *msg)
{
    struct bus_asker *asker = ctx;
    const char *dot = strrchr(bus_msg_subject(msg), '.');
    uint64_t id = dot == NULL ? 0 : strtoull(dot + 1, NULL, 10);
    size_t len;
    const char *data = bus_msg_data(msg, &len);
    pthread_mutex_lock(&asker->lock);
    struct bus_ask *ask = take(asker, id);
    if (ask != NULL) {
        ask->status = natsMsg_IsNoResponders(msg->msg) ? NATS_NO_RESPONDERS : NATS_OK;
        ask->reply = mem_strndup(data, len);
        ask->len = len;
        ask->answered = true;
        pthread_cond_broadcast(&asker->answered);
    }
    pthread_mutex_unlock(&asker->lock);
}

int bus_asker_new(struct bus *bus, struct bus_asker **out, struct err *err)
{
    struct bus_asker *asker = mem_zalloc(sizeof(*asker));
    pthread_condattr_t attr;
    asker->bus = bus;
    asker->inbox = bus_inbox(bus);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&asker->answered, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&asker->lock, NULL);
    AUTO_FREE char *all = mem_printf("%s.*", asker->inbox);
    *out = asker;
    if (bus_subscribe(bus, all, NULL, on_reply, asker, &asker->sub, err) == 0)
        return 0;
    bus_asker_free(out);
    return -1;
}

void bus_asker_free(struct bus_asker **askerp)
{
    struct bus_asker *asker = *askerp;
    *askerp = NULL;
    if (asker == NULL)
        return;
    bus_unsubscribe(&asker->sub);
    pthread_cond_destroy(&asker->answered);
    pthread_mutex_destroy(&asker->lock);
    free(asker->inbox);
    free(asker);
}

static void ask_free(struct bus_ask **askp)
{
    struct bus_ask *ask = *askp;
    *askp = NULL;
    free(ask->subject);
    free(ask->reply);
    free(ask);
}

int bus_ask(struct bus_asker *asker, const char *subject, const void *data, size_t len,
            struct bus_ask **out, struct err *err)
{
    struct bus_ask *ask = mem_zalloc(sizeof(*ask));
    ask->asker = asker;
    ask->subject = mem_strdup(subject);
    pthread_mutex_lock(&asker->lock);
    ask->id = ++asker->last_id;
    ask->next = asker->under_way;
    asker->under_way = ask;
    pthread_mutex_unlock(&asker->lock);
    AUTO_FREE char *reply = mem_printf("%s.%" PRIu64, asker->inbox, ask->id);
    *out = ask;
    if (bus_publish_reply(asker->bus, subject, reply, data, len, err) == 0)
        return 0;
    bus_ask_drop(out);
    return -1;
}

void bus_ask_drop(struct bus_ask **askp)
{
    struct bus_ask *ask = *askp;
    if (ask == NULL)
        return;
    struct bus_asker *asker = ask->asker;
    pthread_mutex_lock(&asker->lock);
    if (!ask->answered)
        take(asker, ask->id);
    pthread_mutex_unlock(&asker->lock);
    ask_free(askp);
}

int bus_ask_wait(struct bus_ask **askp, int64_t timeout_ms, char **reply, size_t *len,
                 struct err *err)
{
    struct bus_ask *ask = *askp;
    struct bus_asker *asker = ask->asker;
    int64_t deadline = bus_now_ms() + timeout_ms;
    struct timespec until = {.tv_sec = deadline / 1000, .tv_nsec = deadline % 1000 * 1000000};
    int rc = 0;
    pthread_mutex_lock(&asker->lock);
    while (!ask->answered && rc == 0)
        rc = pthread_cond_timedwait(&asker->answered, &asker->lock, &until);
    natsStatus status = ask->answered ? ask->status : NATS_TIMEOUT;
    pthread_mutex_unlock(&asker->lock);
    if (status == NATS_OK) {
        *len = ask->len;
        *reply = MEM_STEAL(ask->reply);
    } else {
        bus_fail(status, ask->subject, err);
    }
    bus_ask_drop(askp);
    return status == NATS_OK ? 0 : -1;
}
