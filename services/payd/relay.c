/* Takes hints out of the outbox and publishes them to JetStream. What JetStream acknowledges is
 * transport: a row stays, and is published again in growing steps, until subd's answer deletes it
 * (store_applied). */
#include "services/payd/relay.h"

#include "libcommon/log.h"
#include "libcommon/proto/payment.h"
#include "services/payd/gauges.h"

#include <string.h>

#define IDLE_MS    250
#define AWAY_MS    1000
#define PUBLISH_MS 2000
#define KEEP_MS    ((int64_t)24 * 3600 * 1000)
#define KEEP_BYTES ((int64_t)256 * 1024 * 1024)

struct relay {
    struct payd *payd;
    pthread_t thread;
    bool stream_ready;
    bool told; /* that it does not work */
};

static const struct pg_stmt due_stmt = {
    "relay_due",
    "SELECT payment_id, revision, kind, attempts FROM outbox WHERE follower = $1 AND next_at <= "
    "clock_timestamp() ORDER BY next_at LIMIT 100"};
/* Only the leader of this epoch postpones; a hint sent twice is harmless. */
static const struct pg_stmt sent_stmt = {
    "relay_sent",
    "UPDATE outbox SET attempts = attempts + 1, next_at = clock_timestamp() + $3::bigint * "
    "interval '1 millisecond' WHERE payment_id = $1 AND revision = $2 AND EXISTS (SELECT FROM "
    "follower f WHERE f.id = outbox.follower AND f.epoch = $4)"};

void relay_message_id(const char *payment, int64_t revision, int64_t attempt, char out[128])
{
    snprintf(out, 128, "%s:%lld:%lld", payment, (long long)revision, (long long)attempt);
}

static int stream_ensure(struct relay *relay, struct err *err)
{
    /* Two subjects: what stands between them, `activated`, is a request and must not be captured.
     */
    struct bus_stream stream = {.name = PAYMENT_STREAM,
                                .subject = PAYMENT_SUBJECT_CONFIRMED " " PAYMENT_SUBJECT_REVERSED,
                                .max_age_ms = KEEP_MS,
                                .max_bytes = KEEP_BYTES};
    if (relay->stream_ready)
        return 0;
    if (bus_stream_ensure(relay->payd->bus, &stream, PUBLISH_MS, err) != 0)
        return err_wrap(err, "stream " PAYMENT_STREAM);
    relay->stream_ready = true;
    return 0;
}

static int64_t pause_after(const struct settings_relay *relay, int64_t attempts)
{
    int64_t pause = relay->retry_min_ms;
    for (int64_t i = 0; i < attempts && pause < relay->retry_max_ms; i++)
        pause *= 2;
    return pause < relay->retry_max_ms ? pause : relay->retry_max_ms;
}

static int publish(struct relay *relay, const PGresult *due, int row, struct err *err)
{
    struct payment_hint hint = {.revision = pg_int(due, row, "revision")};
    char id[128];
    bool confirmed = strcmp(pg_text(due, row, "kind"), "confirmed") == 0;
    const char *subject = confirmed ? PAYMENT_SUBJECT_CONFIRMED : PAYMENT_SUBJECT_REVERSED;
    snprintf(hint.payment_id, sizeof(hint.payment_id), "%s", pg_text(due, row, "payment_id"));
    relay_message_id(hint.payment_id, hint.revision, pg_int(due, row, "attempts") + 1, id);
    AUTO_FREE char *text = payment_hint_encode(&hint);
    int rc = bus_stream_publish(relay->payd->bus, subject, id, text, strlen(text), PUBLISH_MS, err);
    metrics_count(relay->payd->metrics, GAUGES_HINTS, rc == 0 ? "published" : "failed", NULL);
    if (rc == 0 && pg_int(due, row, "attempts") == 4)
        log_warn("a hint is not answered", LOG_STR(PAYMENT, hint.payment_id),
                 LOG_INT(REVISION, hint.revision), LOG_STR(SUBJECT, subject));
    return rc;
}

static int relay_due(struct relay *relay, int64_t epoch, bool *more, struct err *err)
{
    struct payd *payd = relay->payd;
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    AUTO_PG_RESULT PGresult *due = NULL;
    if (pg_acquire(payd->pg, AWAY_MS, &conn, err) != 0 ||
        pg_run(conn, &due_stmt, PG_PARAMS(pg_num(atomic_load(&payd->follower)).s), &due, err) != 0)
        return -1;
    *more = PQntuples(due) == 100;
    if (PQntuples(due) > 0 && stream_ensure(relay, err) != 0)
        return -1;
    for (int row = 0; row < PQntuples(due) && !atomic_load(&payd->stop); row++) {
        int64_t pause = pause_after(&payd->settings->relay, pg_int(due, row, "attempts"));
        if (publish(relay, due, row, err) != 0) {
            /* The stream may have been deleted. */
            relay->stream_ready = false;
            return -1;
        }
        if (pg_run(conn, &sent_stmt,
                   PG_PARAMS(pg_text(due, row, "payment_id"), pg_text(due, row, "revision"),
                             pg_num(pause).s, pg_num(epoch).s),
                   NULL, err) != 0)
            return -1;
    }
    return 0;
}

static int64_t turn(struct relay *relay)
{
    struct err err = {{0}};
    bool more = false;
    int64_t epoch = atomic_load(&relay->payd->epoch);
    if (epoch == 0)
        return IDLE_MS;
    if (relay_due(relay, epoch, &more, &err) != 0) {
        if (!relay->told && !atomic_load(&relay->payd->stop))
            log_warn("hints cannot be published at the moment", LOG_STR(ERROR, err.msg));
        relay->told = true;
        return AWAY_MS;
    }
    if (relay->told)
        log_info("hints are published again");
    relay->told = false;
    return more ? 0 : IDLE_MS;
}

static void *relay_main(void *ctx)
{
    struct relay *relay = ctx;
    uint64_t seen = 0;
    while (!payd_wait_hint(relay->payd, &seen, turn(relay))) {
    }
    return NULL;
}

struct relay *relay_start(struct payd *payd)
{
    struct relay *relay = mem_zalloc(sizeof(*relay));
    relay->payd = payd;
    if (pthread_create(&relay->thread, NULL, relay_main, relay) != 0)
        abort();
    return relay;
}

void relay_join(struct relay **relay_ptr)
{
    struct relay *relay = *relay_ptr;
    *relay_ptr = NULL;
    if (relay == NULL)
        return;
    pthread_join(relay->thread, NULL);
    free(relay);
}
