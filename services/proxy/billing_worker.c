/* What a worker does with what it is told, and how it asks. A request that waits is tried again
 * from the start of its room whenever something came; it knows itself whether that was enough. */
#include "services/proxy/billing_worker.h"

#include "libcommon/mem.h"
#include "services/proxy/billing_internal.h"
#include "services/proxy/stats.h"
#include "services/proxy/worker_private.h"

#include <openssl/rand.h>
#include <string.h>

#define TOKENS_MAX  16384
#define SUBS_MAX    65536
#define WAITING_MAX 10000
#define SWEEP_MS    500
#define LATE_MS     50
#define REFETCH_NS  (5LL * 1000 * 1000 * 1000)
#define LOST_NS     (5LL * 1000 * 1000 * 1000)
#define SECOND_NS   (1000LL * 1000 * 1000)

static void release_sub(void *ctx, struct subscription *sub)
{
    (void)ctx;
    lease_purse_clear(&sub->purse);
}

static void on_timer(struct timer *timer);

struct billing_worker *billing_worker_new(struct billing *billing, struct worker *worker)
{
    struct billing_worker *bw = mem_zalloc(sizeof(*bw));
    struct metrics *metrics = worker->metrics;
    uint8_t key[16];
    if (RAND_bytes(key, sizeof(key)) != 1)
        abort();
    bw->billing = billing;
    bw->worker = worker;
    bw->tokens = token_cache_new(TOKENS_MAX, key);
    bw->subs = subtable_new(SUBS_MAX, key, release_sub, NULL);
    bw->timer.fire = on_timer;
    bw->inbox_end = &bw->inbox;
    bw->cached = metrics_local(metrics, STATS_TOKENS, (const char *[]){"cached"});
    bw->verified = metrics_local(metrics, STATS_TOKENS, (const char *[]){"verified"});
    bw->refused = metrics_local(metrics, STATS_TOKENS, (const char *[]){"refused"});
    bw->waiting_gauge = metrics_local(metrics, STATS_WAITING, NULL);
    billing_waits_init(&bw->shares);
    billing_waits_init(&bw->key_wait);
    billing_waits_init(&bw->ages);
    pthread_mutex_init(&bw->mutex, NULL);
    mem_wipe(key, sizeof(key));
    return bw;
}

struct billing_note *billing_note_new(enum billing_note_kind kind, size_t count)
{
    struct billing_note *note = mem_zalloc(sizeof(*note) + count * sizeof(note->records[0]));
    note->kind = kind;
    note->count = count;
    return note;
}

static void note_free(struct billing_note *note)
{
    billing_keys_unref(note->keys);
    if (note->lease)
        lease_unref(note->lease);
    free(note);
}

static struct billing_note *take_inbox(struct billing_worker *bw)
{
    pthread_mutex_lock(&bw->mutex);
    struct billing_note *first = bw->inbox;
    bw->inbox = NULL;
    bw->inbox_end = &bw->inbox;
    bw->rung = false;
    pthread_mutex_unlock(&bw->mutex);
    return first;
}

void billing_worker_free(struct billing_worker **bw)
{
    struct billing_worker *w = *bw;
    for (struct billing_note *note = take_inbox(w), *next; note; note = next) {
        next = note->next;
        note_free(note);
    }
    timer_unlink(&w->worker->priv->timers, &w->timer);
    subtable_free(&w->subs);
    token_cache_free(&w->tokens);
    billing_keys_unref(w->keys);
    pthread_mutex_destroy(&w->mutex);
    w->worker->billing = NULL;
    free(w);
    *bw = NULL;
}

static void arm(struct billing_worker *bw)
{
    int64_t in = !billing_waits_empty(&bw->ages) ? LATE_MS : SWEEP_MS;
    int64_t due = worker_now_ms(bw->worker) + in;
    if (billing_waits_empty(&bw->ages) && billing_waits_empty(&bw->shares))
        timer_clear(&bw->timer);
    else
        timer_set(&bw->worker->priv->timers, &bw->timer, due);
}

bool billing_worker_park(struct billing_worker *bw, struct billing_wait *wait,
                         struct billing_waits *waits, struct request *request,
                         void (*again)(struct request *request))
{
    if (!wait->age.next) {
        if (bw->waiting >= WAITING_MAX)
            return false;
        bw->waiting++;
        metric_add(bw->waiting_gauge, 1);
        wait->since_ns = bw->worker->now_ns;
        wait->request = request;
        wait->again = again;
    }
    bool first = billing_waits_empty(&bw->ages);
    billing_wait_park(wait, waits, &bw->ages);
    if (first)
        arm(bw);
    return true;
}

void billing_worker_unpark(struct billing_worker *bw, struct billing_wait *wait)
{
    if (wait->age.next) {
        bw->waiting--;
        metric_add(bw->waiting_gauge, -1);
    }
    billing_wait_leave(wait);
}

bool billing_worker_late(const struct billing_worker *bw, const struct billing_wait *wait)
{
    return wait->age.next && bw->worker->now_ns - wait->since_ns >= BILLING_WAIT_NS;
}

/* Those that cannot go on yet park themselves again, on the list that was emptied before. */
static void try_again(struct billing_waits *waits)
{
    struct billing_waits due;
    struct billing_wait *wait;
    billing_waits_init(&due);
    billing_waits_move(&due, waits);
    while ((wait = billing_waits_pop(&due)) != NULL)
        wait->again(wait->request);
}

static void on_timer(struct timer *timer)
{
    struct billing_worker *bw = H2O_STRUCT_FROM_MEMBER(struct billing_worker, timer, timer);
    struct billing_wait *wait;
    while ((wait = billing_waits_oldest(&bw->ages)) != NULL && billing_worker_late(bw, wait)) {
        billing_link_remove(&wait->link);
        wait->again(wait->request);
    }
    lease_share_sweep(&bw->shares, bw->worker->now_ns);
    arm(bw);
}

static void take_records(struct billing_worker *bw, const struct billing_note *note)
{
    for (size_t i = 0; i < note->count; i++) {
        struct subscription *sub = subtable_find(bw->subs, note->records[i].id);
        if (!sub)
            continue;
        sub->asked_ns = 0;
        if (note->kind == BILLING_UNKNOWN)
            sub->failed_ns = bw->worker->now_ns;
        else
            subtable_apply(sub, &note->records[i], bw->worker->now_ns);
        subtable_ref(sub);
        try_again(&sub->checking);
        subtable_unref(sub);
    }
}

static void take_keys(struct billing_worker *bw, struct billing_note *note)
{
    if (note->kind == BILLING_KEYS) {
        if (billing_keys_withdrawn(bw->keys, note->keys))
            token_cache_clear(bw->tokens);
        billing_keys_unref(bw->keys);
        bw->keys = MEM_STEAL(note->keys);
    }
    bw->keys_pending = false;
    bw->keys_failed = note->kind == BILLING_KEYS_FAILED;
    try_again(&bw->key_wait);
}

static void take_lease(struct billing_worker *bw, struct billing_note *note)
{
    struct subscription *sub = subtable_find(bw->subs, note->lease->grant.sub);
    if (!sub)
        return;
    bool first = billing_waits_empty(&bw->shares);
    lease_purse_add(&sub->purse, MEM_STEAL(note->lease), &bw->shares);
    sub->purse.asked_ns = 0;
    sub->purse.refused_ns = sub->purse.failed_ns = 0;
    if (first)
        arm(bw);
    subtable_ref(sub);
    try_again(&sub->purse.waiting);
    subtable_unref(sub);
}

static void take_denial(struct billing_worker *bw, const struct billing_note *note)
{
    struct subscription *sub = subtable_find(bw->subs, note->sub);
    if (!sub)
        return;
    sub->purse.asked_ns = 0;
    if (note->answered) {
        sub->purse.refused = note->refused;
        sub->purse.refused_ns = bw->worker->now_ns;
    } else {
        sub->purse.failed_ns = bw->worker->now_ns;
    }
    subtable_ref(sub);
    try_again(&sub->purse.waiting);
    subtable_unref(sub);
}

static void recheck(void *ctx, struct subscription *sub)
{
    billing_worker_ask_sub(ctx, sub);
}

static void take_note(struct billing_worker *bw, struct billing_note *note)
{
    switch (note->kind) {
    case BILLING_RECORDS:
    case BILLING_UNKNOWN:
        take_records(bw, note);
        break;
    case BILLING_KEYS:
    case BILLING_KEYS_FAILED:
        take_keys(bw, note);
        break;
    case BILLING_LEASE:
        take_lease(bw, note);
        break;
    case BILLING_DENIED:
        take_denial(bw, note);
        break;
    case BILLING_RECHECK:
        subtable_each(bw->subs, recheck, bw);
        break;
    }
}

static void on_ring(struct worker *worker, struct worker_message *message)
{
    struct billing_worker *bw = worker->billing;
    free(message);
    if (!bw)
        return;
    for (struct billing_note *note = take_inbox(bw), *next; note; note = next) {
        next = note->next;
        take_note(bw, note);
        note_free(note);
    }
}

void billing_worker_post(struct billing_worker *bw, struct billing_note *note)
{
    pthread_mutex_lock(&bw->mutex);
    bool ring = !bw->rung;
    *bw->inbox_end = note;
    bw->inbox_end = &note->next;
    bw->rung = true;
    pthread_mutex_unlock(&bw->mutex);
    if (!ring)
        return;
    struct worker_message *message = mem_zalloc(sizeof(*message));
    message->run = on_ring;
    worker_send(bw->worker, message);
}

bool billing_worker_degraded(const struct billing_worker *bw)
{
    return !billing_healthy(bw->billing, bw->worker->now_ns);
}

bool billing_worker_cut_off(const struct billing_worker *bw, int64_t token_s)
{
    int64_t silent_ns = billing_silent_ns(bw->billing, bw->worker->now_ns);
    return silent_ns / SECOND_NS > token_s + billing_grace_s(bw->billing);
}

/* Every question is answered; should an answer be lost all the same, it is asked again. */
static bool under_way(const struct billing_worker *bw, int64_t asked_ns)
{
    return asked_ns && bw->worker->now_ns - asked_ns < LOST_NS;
}

void billing_worker_ask_sub(struct billing_worker *bw, struct subscription *sub)
{
    if (under_way(bw, sub->asked_ns))
        return;
    sub->asked_ns = bw->worker->now_ns;
    billing_ask_sub(bw->billing, sub->record.id);
}

/* What goes on already needs no more requests, so their end is not its own. */
static bool requests_are_gone(const struct lease_purse *purse)
{
    return purse->refused_ns && purse->refused.reason == LEASE_QUOTA_EXCEEDED &&
           purse->refused.kind == SUB_REQUESTS;
}

static void ask_lease(struct billing_worker *bw, struct subscription *sub, bool goes_on,
                      bool messages, int64_t cost)
{
    struct lease_book_want want = {.worker = bw->worker->index,
                                   .waiting = (int64_t)billing_waits_count(&sub->purse.waiting),
                                   .no_requests = goes_on && requests_are_gone(&sub->purse),
                                   .messages = messages,
                                   .cost = cost};
    if (under_way(bw, sub->purse.asked_ns))
        return;
    memcpy(want.sub, sub->record.id, sizeof(want.sub));
    for (int i = 0; i < SUB_KINDS; i++)
        want.limited[i] = sub_limited(&sub->record.limits, (enum sub_kind)i);
    sub->purse.asked_ns = bw->worker->now_ns;
    billing_ask_lease(bw->billing, &want);
}

void billing_worker_ask_lease(struct billing_worker *bw, struct subscription *sub)
{
    ask_lease(bw, sub, false, false, 0);
}

void billing_worker_ask_on(struct billing_worker *bw, struct subscription *sub)
{
    const struct lease_purse *purse = &sub->purse;
    if (!purse->failed_ns || bw->worker->now_ns - purse->failed_ns >= BILLING_RETRY_NS)
        ask_lease(bw, sub, true, false, 0);
}

void billing_worker_ask_messages(struct billing_worker *bw, struct subscription *sub)
{
    ask_lease(bw, sub, true, true, 0);
}

void billing_worker_ask_cost(struct billing_worker *bw, struct subscription *sub, int64_t cost)
{
    ask_lease(bw, sub, false, false, cost);
}

bool billing_worker_ask_keys(struct billing_worker *bw)
{
    int64_t now_ns = bw->worker->now_ns;
    if (bw->keys_pending)
        return true;
    if (bw->keys_asked_ns && now_ns - bw->keys_asked_ns < REFETCH_NS)
        return false;
    bw->keys_asked_ns = now_ns;
    bw->keys_pending = true;
    billing_ask_keys(bw->billing);
    return true;
}

int64_t billing_worker_wall_s(const struct billing_worker *bw)
{
    return bw->worker->wall_ms / 1000;
}
