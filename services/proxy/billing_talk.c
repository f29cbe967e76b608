/* The thread that talks to subd: it asks, in batches, what workers want to know, and hands them the
 * answers. Each call takes at most a second, and nobody but this thread waits for it. */
#include "services/proxy/billing_internal.h"

#include "libcommon/client/sub_client.h"
#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "services/proxy/stats.h"

#include <string.h>
#include <time.h>

#define SECOND_NS     1000000000LL
#define TICK_NS       (100LL * 1000 * 1000)
#define SWEEP_NS      (500LL * 1000 * 1000)
#define KEYS_NS       (60 * SECOND_NS)
#define KEYS_RETRY_NS SECOND_NS
#define APPLIED_NS    SECOND_NS

static void count(struct billing *billing, unsigned metric, const char *result, int64_t n)
{
    metric_add(metrics_cell(billing->metrics, metric, (const char *[]){result}), n);
}

/* A chunk of ids without repetitions; returns how many of `ids` it covers. */
static size_t chunk(const struct billing_id *ids, size_t total, const char **out, size_t *n)
{
    size_t i;
    *n = 0;
    for (i = 0; i < total && *n < SUB_BATCH_MAX; i++) {
        size_t k = 0;
        while (k < *n && strcmp(out[k], ids[i].text) != 0)
            k++;
        if (k == *n)
            out[(*n)++] = ids[i].text;
    }
    return i;
}

static void tell_all(struct billing *billing, enum billing_note_kind kind,
                     const struct sub_record *records, size_t n)
{
    for (size_t i = 0; i < billing->count; i++) {
        struct billing_note *note = billing_note_new(kind, n);
        if (n)
            memcpy(note->records, records, n * sizeof(*records));
        billing_worker_post(billing->workers[i], note);
    }
}

static void tell_unknown(struct billing *billing, const char *const *ids, size_t n)
{
    AUTO_FREE struct sub_record *records = mem_array(n + 1, sizeof(*records));
    for (size_t i = 0; i < n; i++)
        memcpy(records[i].id, ids[i], SUB_ID_LEN + 1);
    tell_all(billing, BILLING_UNKNOWN, records, n);
}

static void check_chunk(struct billing *billing, const char *const *ids, size_t n)
{
    AUTO_FREE struct sub_record *records = NULL;
    size_t got;
    int64_t head;
    struct err err;
    if (sub_client_check(billing->bus, ids, n, BILLING_CALL_MS, &head, &records, &got, &err)) {
        log_debug("subscriptions could not be checked", LOG_STR(ERROR, err.msg),
                  LOG_UINT(COUNT, n));
        count(billing, STATS_CHECKS, "failed", (int64_t)n);
        billing->recheck_ns = billing_now_ns() + SECOND_NS;
        tell_unknown(billing, ids, n);
        return;
    }
    count(billing, STATS_CHECKS, "ok", (int64_t)n);
    tell_all(billing, BILLING_RECORDS, records, got);
}

/* No more is asked for than can be written down: a grant without a cell would be nobody's. */
static size_t room(const struct billing *billing)
{
    size_t cells = journal_room(billing->journal, BILLING_ANCHORS(billing));
    return cells < SUB_BATCH_MAX ? cells : SUB_BATCH_MAX;
}

static void take_wants(struct billing *billing, struct billing_queue *work)
{
    int64_t now_ns = billing_now_ns();
    for (size_t i = 0; i < work->change_count; i++)
        lease_book_changed(billing->book, work->changes[i].text);
    for (size_t i = 0; i < work->want_count; i++)
        lease_book_want(billing->book, &work->wants[i], now_ns);
    while (lease_book_wanting(billing->book) && room(billing))
        billing_talk_leases(billing);
}

/* Requests that wait for a lease do not wait for a long list of checks. */
static void serve_wants(struct billing *billing)
{
    struct billing_queue *queue = &billing->queue;
    struct billing_queue urgent = {.stop = false};
    pthread_mutex_lock(&billing->mutex);
    urgent.changes = MEM_STEAL(queue->changes);
    urgent.change_count = queue->change_count;
    urgent.wants = MEM_STEAL(queue->wants);
    urgent.want_count = queue->want_count;
    queue->change_count = queue->change_cap = queue->want_count = queue->want_cap = 0;
    pthread_mutex_unlock(&billing->mutex);
    take_wants(billing, &urgent);
    billing_queue_clear(&urgent);
}

static void check_all(struct billing *billing, const struct billing_queue *work)
{
    const char *ids[SUB_BATCH_MAX];
    size_t n;
    for (size_t at = 0; at < work->check_count;) {
        at += chunk(work->checks + at, work->check_count - at, ids, &n);
        check_chunk(billing, ids, n);
        serve_wants(billing);
    }
}

static void fetch_keys(struct billing *billing)
{
    AUTO_JSON json_t *set = NULL;
    struct billing_keys *keys = NULL;
    struct err err;
    int64_t now_ns = billing_now_ns();
    if (sub_client_keys(billing->bus, BILLING_CALL_MS, &set, &err) ||
        billing_keys_new(set, &keys, &err)) {
        log_debug("the signing keys could not be fetched", LOG_STR(ERROR, err.msg));
        billing->keys_ns = now_ns + KEYS_RETRY_NS;
        tell_all(billing, BILLING_KEYS_FAILED, NULL, 0);
        return;
    }
    billing->keys_ns = now_ns + KEYS_NS;
    for (size_t i = 0; i < billing->count; i++) {
        struct billing_note *note = billing_note_new(BILLING_KEYS, 0);
        note->keys = billing_keys_ref(keys);
        billing_worker_post(billing->workers[i], note);
    }
    billing_keys_unref(keys);
}

/* The own journal, then the adopted ones. */
static void name_journals(struct billing *billing, struct lease_request *request)
{
    pthread_mutex_lock(&billing->journals_mutex);
    request->journals = mem_array(billing->adopted_count + 1, sizeof(*request->journals));
    memcpy(request->journals[0], journal_id(billing->journal), LEASE_JOURNAL_LEN + 1);
    for (size_t i = 0; i < billing->adopted_count; i++)
        memcpy(request->journals[i + 1], journal_id(billing->adopted[i]), LEASE_JOURNAL_LEN + 1);
    request->journal_count = billing->adopted_count + 1;
    pthread_mutex_unlock(&billing->journals_mutex);
}

static void take_applied(struct billing *billing, const struct lease_reply *reply)
{
    pthread_mutex_lock(&billing->journals_mutex);
    for (size_t i = 0; i < reply->applied_count; i++) {
        const struct lease_applied *applied = &reply->applied[i];
        if (strcmp(applied->journal, journal_id(billing->journal)) == 0)
            journal_applied(billing->journal, applied->seq);
        for (size_t k = 0; k < billing->adopted_count; k++)
            if (strcmp(applied->journal, journal_id(billing->adopted[k])) == 0)
                journal_applied(billing->adopted[k], applied->seq);
    }
    pthread_mutex_unlock(&billing->journals_mutex);
}

static void take_reply(struct billing *billing, const struct lease_request *request,
                       const struct lease_reply *reply, int64_t sent_ns)
{
    int64_t now_ns = billing_now_ns();
    for (size_t i = 0; i < reply->grant_count; i++) {
        if (reply->grants[i].id > billing->last_lease)
            billing->last_lease = reply->grants[i].id;
        lease_book_granted(billing->book, &reply->grants[i], sent_ns, now_ns);
    }
    for (size_t i = 0; i < reply->refused_count; i++)
        lease_book_refused(billing->book, &reply->refused[i]);
    for (size_t i = 0; i < request->ask_count; i++)
        lease_book_failed(billing->book, request->asks[i].sub); /* where it was not answered */
    count(billing, STATS_LEASES, "granted", (int64_t)reply->grant_count);
    count(billing, STATS_LEASES, "refused", (int64_t)reply->refused_count);
    take_applied(billing, reply);
}

static void fail_asks(struct billing *billing, const struct lease_request *request)
{
    count(billing, STATS_LEASES, "failed", (int64_t)request->ask_count);
    for (size_t i = 0; i < request->ask_count; i++)
        lease_book_failed(billing->book, request->asks[i].sub);
}

static void clear_request(struct lease_request *request)
{
    free(request->journals);
    free(request->asks);
}

void billing_talk_leases(struct billing *billing)
{
    CLEANUP(clear_request) struct lease_request request = {.ask_count = 0};
    struct lease_reply reply;
    struct err err;
    int64_t sent_ns = billing_now_ns();
    name_journals(billing, &request);
    request.asks = mem_array(SUB_BATCH_MAX, sizeof(*request.asks));
    if (billing->book)
        request.ask_count = lease_book_collect(billing->book, request.asks, room(billing), sent_ns);
    if (request.ask_count)
        journal_lease_asked(billing->journal);
    request.round = ++billing->round;
    request.last = billing->last_lease;
    billing->asked_ns = sent_ns;
    billing->lost = true;
    if (sub_client_lease(billing->bus, &request, BILLING_CALL_MS, &reply, &err)) {
        log_debug("leases could not be asked for", LOG_STR(ERROR, err.msg));
        fail_asks(billing, &request);
        return;
    }
    billing->lost = false;
    take_reply(billing, &request, &reply, sent_ns);
    lease_reply_clear(&reply);
}

static bool anything_unretired(struct billing *billing)
{
    size_t n = journal_unretired(billing->journal);
    pthread_mutex_lock(&billing->journals_mutex);
    for (size_t i = 0; i < billing->adopted_count; i++)
        n += journal_unretired(billing->adopted[i]);
    pthread_mutex_unlock(&billing->journals_mutex);
    return n > 0;
}

static void ask_applied(struct billing *billing, int64_t now_ns)
{
    if (now_ns - billing->asked_ns >= APPLIED_NS && (billing->lost || anything_unretired(billing)))
        billing_talk_leases(billing);
}

/* Ready only after the first word of subd; afterwards its absence is bridged by what is held. */
static void note_health(struct billing *billing, int64_t now_ns)
{
    bool ok = billing_healthy(billing, now_ns);
    metric_set(metrics_cell(billing->metrics, STATS_SUBD_OK, NULL), ok);
    if (ok == billing->was_healthy)
        return;
    billing->was_healthy = ok;
    billing->once_healthy = billing->once_healthy || ok;
    service_dependency(billing->service, "subd", false, ok,
                       ok ? "" : "no good heartbeat; what is held is honoured");
    if (ok)
        log_info("subd is healthy", LOG_STR(DEPENDENCY, "subd"));
    else
        log_warn("subd is away or unhealthy: the grace period applies",
                 LOG_STR(DEPENDENCY, "subd"));
}

static void tick(struct billing *billing, int64_t now_ns)
{
    note_health(billing, now_ns);
    if (now_ns >= billing->keys_ns && bus_connected(billing->bus))
        fetch_keys(billing);
    if (billing->recheck_ns && now_ns >= billing->recheck_ns && bus_connected(billing->bus)) {
        billing->recheck_ns = 0;
        tell_all(billing, BILLING_RECHECK, NULL, 0);
    }
    if (now_ns - billing->swept_ns < SWEEP_NS)
        return;
    billing->swept_ns = now_ns;
    lease_book_sweep(billing->book, now_ns);
    metric_set(metrics_cell(billing->metrics, STATS_LEASES_HELD, NULL),
               (int64_t)lease_book_count(billing->book));
}

static bool idle(const struct billing_queue *queue)
{
    return !queue->check_count && !queue->change_count && !queue->want_count && !queue->keys &&
           !queue->recheck && !queue->stop;
}

static struct billing_queue next_work(struct billing *billing)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_NS;
    if (until.tv_nsec >= SECOND_NS) {
        until.tv_sec++;
        until.tv_nsec -= SECOND_NS;
    }
    pthread_mutex_lock(&billing->mutex);
    while (idle(&billing->queue) &&
           pthread_cond_timedwait(&billing->wake, &billing->mutex, &until) == 0)
        ;
    struct billing_queue work = billing->queue;
    memset(&billing->queue, 0, sizeof(billing->queue));
    pthread_mutex_unlock(&billing->mutex);
    return work;
}

void *billing_talk(void *arg)
{
    struct billing *billing = arg;
    bool stop = false;
    pthread_setname_np(pthread_self(), "billing");
    while (!stop) {
        struct billing_queue work = next_work(billing);
        stop = work.stop;
        if (!stop) {
            take_wants(billing, &work);
            check_all(billing, &work);
            ask_applied(billing, billing_now_ns());
            if (work.keys)
                fetch_keys(billing);
            if (work.recheck)
                tell_all(billing, BILLING_RECHECK, NULL, 0);
            tick(billing, billing_now_ns());
        }
        billing_queue_clear(&work);
    }
    return NULL;
}
