/* Starting and stopping the paid side, and what workers ask of it. */
#include "services/proxy/billing.h"

#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "services/proxy/billing_internal.h"

#include <string.h>

#define CELLS        16384 /* of a thread: 2 MiB */
#define STOP_MS      5000  /* for the last batches to be applied */
#define HEARTBEAT_NS (3LL * 1000 * 1000 * 1000)

static const struct config_field fields[] = {
    CONFIG_FIELD(struct billing_config, nats, "nats", CONFIG_SECTION, .section = &bus_config_schema,
                 .doc = "the bus that leads to subd"),
    CONFIG_FIELD(struct billing_config, journal, "journal", CONFIG_STRING,
                 .fallback = "/var/lib/octroi/journal/",
                 .doc = "directory of what was used and is not in the ledger yet, on a local "
                        "volume, shared by the replicas of one host"),
    CONFIG_FIELD(struct billing_config, grace_ms, "grace", CONFIG_DURATION, .fallback = "15m",
                 .min = 0, .max = 24LL * 3600 * 1000,
                 .doc = "how long after its end a token is honoured while subd is away"),
    CONFIG_FIELD(struct billing_config, flush_ms, "flush", CONFIG_DURATION, .fallback = "250ms",
                 .min = 10, .max = 60 * 1000, .doc = "how often usage is put into a batch"),
    CONFIG_FIELD(struct billing_config, issuer, "issuer", CONFIG_STRING, .fallback = "",
                 .doc = "`iss` of the tokens; empty: any"),
};
const struct config_schema billing_config_schema = {.name = "billing",
                                                    .size = sizeof(struct billing_config),
                                                    .fields = fields,
                                                    .count = ARRAY_LEN(fields)};

int64_t billing_now_ns(void)
{
    return clock_mono_ns(&clock_system);
}

bool billing_healthy(const struct billing *billing, int64_t now_ns)
{
    return billing_silent_ns(billing, now_ns) <= HEARTBEAT_NS;
}

int64_t billing_silent_ns(const struct billing *billing, int64_t now_ns)
{
    return now_ns - atomic_load_explicit(&billing->beat_ns, memory_order_relaxed);
}

int64_t billing_grace_s(const struct billing *billing)
{
    return billing->config.grace_ms / 1000;
}

const char *billing_issuer(const struct billing *billing)
{
    return billing->config.issuer;
}

struct journal *billing_journal(const struct billing *billing)
{
    return billing->journal;
}

void billing_ask_sub(struct billing *billing, const char *id)
{
    struct billing_queue *queue = &billing->queue;
    pthread_mutex_lock(&billing->mutex);
    if (queue->check_count == queue->check_cap) {
        queue->check_cap = queue->check_cap ? 2 * queue->check_cap : 256;
        queue->checks = mem_resize(queue->checks, queue->check_cap, sizeof(*queue->checks));
    }
    memcpy(queue->checks[queue->check_count++].text, id, SUB_ID_LEN + 1);
    pthread_cond_signal(&billing->wake);
    pthread_mutex_unlock(&billing->mutex);
}

void billing_ask_lease(struct billing *billing, const struct lease_book_want *want)
{
    struct billing_queue *queue = &billing->queue;
    pthread_mutex_lock(&billing->mutex);
    if (queue->want_count == queue->want_cap) {
        queue->want_cap = queue->want_cap ? 2 * queue->want_cap : 64;
        queue->wants = mem_resize(queue->wants, queue->want_cap, sizeof(*queue->wants));
    }
    queue->wants[queue->want_count++] = *want;
    pthread_cond_signal(&billing->wake);
    pthread_mutex_unlock(&billing->mutex);
}

void billing_ask_keys(struct billing *billing)
{
    pthread_mutex_lock(&billing->mutex);
    billing->queue.keys = true;
    pthread_cond_signal(&billing->wake);
    pthread_mutex_unlock(&billing->mutex);
}

void billing_queue_clear(struct billing_queue *queue)
{
    free(queue->checks);
    free(queue->changes);
    free(queue->wants);
    memset(queue, 0, sizeof(*queue));
}

static void lend(void *ctx, unsigned worker, struct lease *lease)
{
    struct billing *billing = ctx;
    struct billing_note *note = billing_note_new(BILLING_LEASE, 0);
    note->lease = lease;
    billing_worker_post(billing->workers[worker], note);
}

static void deny(void *ctx, unsigned worker, const char *sub, const struct lease_refused *refused)
{
    struct billing *billing = ctx;
    struct billing_note *note = billing_note_new(BILLING_DENIED, 0);
    memcpy(note->sub, sub, sizeof(note->sub));
    note->answered = refused != NULL;
    if (refused)
        note->refused = *refused;
    billing_worker_post(billing->workers[worker], note);
}

/* A cell without counts: whoever finds the journal knows that there is a lease to close. */
static bool anchor(void *ctx, const struct lease_grant *grant)
{
    struct billing *billing = ctx;
    struct journal_identity identity = {.lease = grant->id, .period = grant->period};
    memcpy(identity.sub, grant->sub, sizeof(identity.sub));
    memcpy(identity.day, grant->day, sizeof(identity.day));
    return journal_cell_open(billing->journal, BILLING_ANCHORS(billing), &identity) != NULL;
}

static void closed(void *ctx, int64_t lease)
{
    struct billing *billing = ctx;
    journal_lease_over(billing->journal, lease);
}

/* Half a slice is left when the next is asked for: what is held lasts for the grace period. */
static int64_t ahead_s(const struct billing_config *config)
{
    int64_t ahead = 2 * config->grace_ms / 1000;
    return ahead > 2 ? ahead : 2;
}

static void init(struct billing *billing, const struct billing_config *config,
                 struct service *service, size_t count)
{
    pthread_condattr_t monotonic;
    billing->config = *config;
    billing->service = service;
    billing->metrics = service_metrics(service);
    billing->count = count;
    billing->ops = (struct lease_book_ops){
        .ctx = billing, .lend = lend, .deny = deny, .anchor = anchor, .closed = closed};
    billing->beat_ns = billing_now_ns() - HEARTBEAT_NS - 1; /* none yet */
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&billing->wake, &monotonic);
    pthread_cond_init(&billing->flush_wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&billing->mutex, NULL);
    pthread_mutex_init(&billing->journals_mutex, NULL);
    billing->book = lease_book_new(&billing->ops, ahead_s(&billing->config));
}

static void make_workers(struct billing *billing, struct worker *const *workers)
{
    billing->workers = mem_array(billing->count, sizeof(*billing->workers));
    for (size_t i = 0; i < billing->count; i++) {
        billing->workers[i] = billing_worker_new(billing, workers[i]);
        workers[i]->billing = billing->workers[i];
    }
}

static int start_threads(struct billing *billing, struct err *err)
{
    if (pthread_create(&billing->talker, NULL, billing_talk, billing))
        return err_set(err, "the billing thread cannot be started");
    billing->talking = true;
    if (pthread_create(&billing->flusher, NULL, billing_flush, billing))
        return err_set(err, "the journal's thread cannot be started");
    billing->flushing = true;
    return 0;
}

int billing_start(const struct billing_config *config, struct service *service,
                  struct worker *const *workers, size_t count, struct billing **out,
                  struct err *err)
{
    struct billing *billing = mem_zalloc(sizeof(*billing));
    init(billing, config, service, count);
    make_workers(billing, workers);
    service_dependency(service, "subd", false, false, "no heartbeat yet");
    if (journal_create(config->journal, (unsigned)count + 1, CELLS, &billing->journal, err) ||
        billing_bus_open(billing, err) || start_threads(billing, err)) {
        err_wrap(err, "billing");
        billing_stop(&billing, 0);
        return -1;
    }
    log_info("usage is written down", LOG_STR(JOURNAL, journal_id(billing->journal)),
             LOG_STR(PATH, config->journal));
    *out = billing;
    return 0;
}

static void stop_threads(struct billing *billing)
{
    pthread_mutex_lock(&billing->mutex);
    billing->queue.stop = billing->flush_stop = true;
    pthread_cond_signal(&billing->wake);
    pthread_cond_signal(&billing->flush_wake);
    pthread_mutex_unlock(&billing->mutex);
    if (billing->talking)
        pthread_join(billing->talker, NULL);
    if (billing->flushing)
        pthread_join(billing->flusher, NULL);
}

/* Leases are given back before the last batch, so that it reports their end. */
static void end_leases(struct billing *billing)
{
    for (size_t i = 0; i < billing->count; i++)
        billing_worker_free(&billing->workers[i]);
    lease_book_free(&billing->book);
    billing->count = 0;
}

static void end_journals(struct billing *billing, int64_t timeout_ms)
{
    bool all =
        billing->bus && billing_flush_end(billing, timeout_ms < STOP_MS ? timeout_ms : STOP_MS);
    if (!all)
        log_warn("some usage is not known to be in the ledger; its journal is left for the next "
                 "proxy",
                 LOG_STR(JOURNAL, journal_id(billing->journal)));
    if (journal_done(billing->journal))
        journal_remove(&billing->journal);
    else
        journal_close(&billing->journal);
    for (size_t i = 0; i < billing->adopted_count; i++)
        journal_close(&billing->adopted[i]);
}

void billing_stop(struct billing **out, int64_t timeout_ms)
{
    struct billing *billing = *out;
    if (!billing)
        return;
    stop_threads(billing);
    bus_unsubscribe(&billing->changes);
    bus_unsubscribe(&billing->beats);
    end_leases(billing);
    if (billing->journal)
        end_journals(billing, timeout_ms);
    billing_bus_close(billing);
    billing_queue_clear(&billing->queue);
    pthread_cond_destroy(&billing->wake);
    pthread_cond_destroy(&billing->flush_wake);
    pthread_mutex_destroy(&billing->mutex);
    pthread_mutex_destroy(&billing->journals_mutex);
    free(billing->workers);
    free(billing);
    *out = NULL;
}
