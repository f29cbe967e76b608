/* What subd publishes: changes go to the workers at once, from the bus's own thread, so that a
 * revocation does not wait for an answer to something else. */
#include "services/proxy/billing_internal.h"

#include "libcommon/log.h"
#include "libcommon/proto/sub.h"

#include <string.h>

static void push_change(struct billing *billing, const char *id)
{
    struct billing_queue *queue = &billing->queue;
    if (queue->change_count == queue->change_cap) {
        queue->change_cap = queue->change_cap ? 2 * queue->change_cap : 64;
        queue->changes = mem_resize(queue->changes, queue->change_cap, sizeof(*queue->changes));
    }
    memcpy(queue->changes[queue->change_count++].text, id, SUB_ID_LEN + 1);
}

static void on_changed(void *ctx, struct bus_msg *msg)
{
    struct billing *billing = ctx;
    struct sub_record record;
    struct err err;
    size_t len;
    int64_t head;
    const char *text = bus_msg_data(msg, &len);
    if (sub_changed_decode(text, len, &head, &record, &err)) {
        log_warn("a change of a subscription cannot be read", LOG_STR(ERROR, err.msg));
        return;
    }
    for (size_t i = 0; i < billing->count; i++) {
        struct billing_note *note = billing_note_new(BILLING_RECORDS, 1);
        note->records[0] = record;
        billing_worker_post(billing->workers[i], note);
    }
    pthread_mutex_lock(&billing->mutex);
    push_change(billing, record.id);
    if (billing_head_changed(&billing->head, head))
        billing->queue.recheck = true;
    pthread_cond_signal(&billing->wake);
    pthread_mutex_unlock(&billing->mutex);
}

static void on_beat(void *ctx, struct bus_msg *msg)
{
    struct billing *billing = ctx;
    struct sub_heartbeat beat;
    struct err err;
    size_t len;
    const char *text = bus_msg_data(msg, &len);
    int64_t now_ns = billing_now_ns();
    if (sub_heartbeat_decode(text, len, &beat, &err)) {
        log_warn("a heartbeat cannot be read", LOG_STR(ERROR, err.msg));
        return;
    }
    if (beat.healthy) /* one that is not may have others beside it */
        atomic_store_explicit(&billing->beat_ns, now_ns, memory_order_relaxed);
    pthread_mutex_lock(&billing->mutex);
    if (billing_head_beat(&billing->head, beat.head, now_ns))
        billing->queue.recheck = true;
    if (billing->queue.recheck)
        pthread_cond_signal(&billing->wake);
    pthread_mutex_unlock(&billing->mutex);
}

/* After a gap nobody knows what was published meanwhile. */
static void on_health(void *ctx, bool ok, const char *detail)
{
    struct billing *billing = ctx;
    service_dependency(billing->service, "nats", false, ok, detail);
    if (!ok)
        return;
    atomic_store_explicit(&billing->reconnected_ns, billing_now_ns(), memory_order_relaxed);
    pthread_mutex_lock(&billing->mutex);
    billing->queue.recheck = billing->queue.keys = true;
    pthread_cond_signal(&billing->wake);
    pthread_mutex_unlock(&billing->mutex);
}

int billing_bus_open(struct billing *billing, struct err *err)
{
    struct bus_options options = {
        .config = &billing->config.nats, .name = "proxy", .on_health = on_health, .ctx = billing};
    if (bus_new(&options, &billing->bus, err) ||
        bus_subscribe(billing->bus, SUB_SUBJECT_CHANGED "*", NULL, on_changed, billing,
                      &billing->changes, err) ||
        bus_subscribe(billing->bus, SUB_SUBJECT_HEARTBEAT, NULL, on_beat, billing, &billing->beats,
                      err))
        return -1;
    return 0;
}

void billing_bus_close(struct billing *billing)
{
    bus_unsubscribe(&billing->changes);
    bus_unsubscribe(&billing->beats);
    bus_free(&billing->bus);
}
