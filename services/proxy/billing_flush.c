/* The thread that writes usage down: seals what was counted, publishes it until it is applied, and
 * takes over the journals of processes that died. */
#include "services/proxy/billing_internal.h"

#include "libcommon/log.h"
#include "services/proxy/stats.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MS          1000000LL
#define RESEND_NS   (5000 * MS)
#define SCAN_NS     (5000 * MS)
#define PUBLISH_MS  1000
#define SCAN_MAX    1024
#define END_STEP_MS 20

static bool publish(struct billing *billing, const struct journal *journal,
                    struct journal_batch *batch)
{
    char subject[sizeof(USAGE_SUBJECT) + LEASE_JOURNAL_LEN], id[64];
    struct err err;
    snprintf(subject, sizeof(subject), USAGE_SUBJECT "%s", journal_id(journal));
    snprintf(id, sizeof(id), "%s:%lld", journal_id(journal), (long long)batch->seq);
    int64_t now_ns = billing_now_ns();
    int failed =
        bus_stream_publish(billing->bus, subject, id, batch->text, batch->len, PUBLISH_MS, &err);
    metrics_count(billing->metrics, STATS_BATCHES, failed ? "failed" : "ok", NULL);
    if (failed && !billing->publish_failed)
        log_warn("usage cannot be published; it is kept", LOG_STR(ERROR, err.msg),
                 LOG_STR(JOURNAL, journal_id(journal)), LOG_INT(SEQ, batch->seq));
    if (!failed && billing->publish_failed)
        log_info("usage is published again", LOG_STR(JOURNAL, journal_id(journal)));
    billing->publish_failed = failed;
    if (!failed)
        batch->sent_ns = now_ns;
    return !failed;
}

/* In order; the first that fails ends it for this time. */
static void publish_due(struct billing *billing, struct journal *journal)
{
    int64_t resend_ns = billing_now_ns() - RESEND_NS;
    int64_t reconnected_ns = atomic_load_explicit(&billing->reconnected_ns, memory_order_relaxed);
    struct journal_batch *batch;
    if (reconnected_ns > resend_ns)
        resend_ns = reconnected_ns;
    while (bus_connected(billing->bus) && (batch = journal_due(journal, resend_ns)) != NULL)
        if (!publish(billing, journal, batch))
            return;
}

static void work_on(struct billing *billing, struct journal *journal, bool final)
{
    struct err err;
    if (journal_retire(journal, &err))
        log_error("the journal's log cannot be shortened", LOG_STR(ERROR, err.msg),
                  LOG_STR(JOURNAL, journal_id(journal)));
    if (journal_seal(journal, final, &err))
        log_debug("usage cannot be sealed", LOG_STR(ERROR, err.msg),
                  LOG_STR(JOURNAL, journal_id(journal)));
    publish_due(billing, journal);
}

static void adopt_one(struct billing *billing, const char *id)
{
    struct journal *journal;
    struct err err;
    if (journal_adopt(billing->config.journal, id, &journal, &err)) {
        log_error("a journal cannot be taken over", LOG_STR(JOURNAL, id), LOG_STR(ERROR, err.msg));
        return;
    }
    if (!journal)
        return;
    log_info("a journal of a dead process is taken over", LOG_STR(JOURNAL, id),
             LOG_UINT(COUNT, journal_unretired(journal)));
    metric_add(metrics_cell(billing->metrics, STATS_ADOPTED, NULL), 1);
    pthread_mutex_lock(&billing->journals_mutex);
    billing->adopted[billing->adopted_count++] = journal;
    pthread_mutex_unlock(&billing->journals_mutex);
}

static void scan(struct billing *billing, int64_t now_ns)
{
    if (now_ns < billing->scanned_ns)
        return;
    billing->scanned_ns = now_ns + SCAN_NS;
    AUTO_FREE char(*ids)[LEASE_JOURNAL_LEN + 1] = mem_array(SCAN_MAX, sizeof(*ids));
    size_t count = journal_scan(billing->config.journal, ids, SCAN_MAX);
    for (size_t i = 0; i < count && billing->adopted_count < LEASE_JOURNALS_MAX - 1; i++)
        if (strcmp(ids[i], journal_id(billing->journal)) != 0)
            adopt_one(billing, ids[i]);
}

static void drop_done(struct billing *billing)
{
    pthread_mutex_lock(&billing->journals_mutex);
    for (size_t i = 0; i < billing->adopted_count;) {
        if (!journal_done(billing->adopted[i])) {
            i++;
            continue;
        }
        log_info("a journal that was taken over is in the ledger",
                 LOG_STR(JOURNAL, journal_id(billing->adopted[i])));
        journal_remove(&billing->adopted[i]);
        billing->adopted[i] = billing->adopted[--billing->adopted_count];
    }
    pthread_mutex_unlock(&billing->journals_mutex);
}

static void turn(struct billing *billing, bool final)
{
    size_t unretired = 0;
    work_on(billing, billing->journal, final);
    for (size_t i = 0; i < billing->adopted_count; i++) {
        work_on(billing, billing->adopted[i], true);
        unretired += journal_unretired(billing->adopted[i]);
    }
    drop_done(billing);
    metric_set(metrics_cell(billing->metrics, STATS_UNRETIRED, NULL),
               (int64_t)(unretired + journal_unretired(billing->journal)));
    metric_set(metrics_cell(billing->metrics, STATS_JOURNAL_OK, NULL),
               journal_writable(billing->journal));
}

/* true: the end was asked for. */
static bool wait_turn(struct billing *billing)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t at = until.tv_nsec + billing->config.flush_ms * MS;
    until.tv_sec += at / (1000 * MS);
    until.tv_nsec = at % (1000 * MS);
    pthread_mutex_lock(&billing->mutex);
    while (!billing->flush_stop &&
           pthread_cond_timedwait(&billing->flush_wake, &billing->mutex, &until) == 0)
        ;
    bool stop = billing->flush_stop;
    pthread_mutex_unlock(&billing->mutex);
    return stop;
}

void *billing_flush(void *arg)
{
    struct billing *billing = arg;
    pthread_setname_np(pthread_self(), "journal");
    do {
        scan(billing, billing_now_ns());
        turn(billing, false);
    } while (!wait_turn(billing));
    return NULL;
}

bool billing_flush_end(struct billing *billing, int64_t timeout_ms)
{
    int64_t deadline_ns = billing_now_ns() + timeout_ms * MS;
    for (;;) {
        turn(billing, true);
        if (journal_done(billing->journal) && billing->adopted_count == 0)
            return true;
        if (billing_now_ns() >= deadline_ns)
            return false;
        if (bus_connected(billing->bus))
            billing_talk_leases(billing);
        nanosleep(&(struct timespec){.tv_nsec = END_STEP_MS * MS}, NULL);
    }
}
