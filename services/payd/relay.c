/* Takes hints out of the outbox and publishes them to JetStream. What JetStream acknowledges is
 * transport: a row stays, and is published again in growing steps, until subd's answer deletes it
 * (store_applied). */
#include "services/payd/relay.h"

#include "libcommon/log.h"
#include "libcommon/proto/payment.h"
#include "services/payd/gauges.h"

#include <string.h>

#define ACQUIRE_MS 1000
#define KEEP_MS    ((int64_t)24 * 3600 * 1000)
#define KEEP_BYTES ((int64_t)256 * 1024 * 1024)

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

static int64_t pause_after(const struct settings_relay *relay, int64_t attempts)
{
    int64_t pause = relay->retry_min_ms;
    for (int64_t i = 0; i < attempts && pause < relay->retry_max_ms; i++)
        pause *= 2;
    return pause < relay->retry_max_ms ? pause : relay->retry_max_ms;
}

static int publish(struct courier *courier, const PGresult *due, int row, struct err *err)
{
    struct payment_hint hint = {.revision = pg_int(due, row, "revision")};
    char id[128];
    bool confirmed = strcmp(pg_text(due, row, "kind"), "confirmed") == 0;
    const char *subject = confirmed ? PAYMENT_SUBJECT_CONFIRMED : PAYMENT_SUBJECT_REVERSED;
    snprintf(hint.payment_id, sizeof(hint.payment_id), "%s", pg_text(due, row, "payment_id"));
    relay_message_id(hint.payment_id, hint.revision, pg_int(due, row, "attempts") + 1, id);
    AUTO_FREE char *text = payment_hint_encode(&hint);
    int rc = courier_publish(courier, subject, id, text, err);
    metrics_count(courier_payd(courier)->metrics, GAUGES_HINTS, rc == 0 ? "published" : "failed",
                  NULL);
    if (rc == 0 && pg_int(due, row, "attempts") == 4)
        log_warn("a hint is not answered", LOG_STR(PAYMENT, hint.payment_id),
                 LOG_INT(REVISION, hint.revision), LOG_STR(SUBJECT, subject));
    return rc;
}

static int relay_due(struct courier *courier, int64_t epoch, bool *more, struct err *err)
{
    struct payd *payd = courier_payd(courier);
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    AUTO_PG_RESULT PGresult *due = NULL;
    if (pg_acquire(payd->pg, ACQUIRE_MS, &conn, err) != 0 ||
        pg_run(conn, &due_stmt, PG_PARAMS(pg_num(atomic_load(&payd->follower)).s), &due, err) != 0)
        return -1;
    *more = PQntuples(due) == 100;
    for (int row = 0; row < PQntuples(due) && !atomic_load(&payd->stop); row++) {
        int64_t pause = pause_after(&payd->settings->relay, pg_int(due, row, "attempts"));
        if (publish(courier, due, row, err) != 0 ||
            pg_run(conn, &sent_stmt,
                   PG_PARAMS(pg_text(due, row, "payment_id"), pg_text(due, row, "revision"),
                             pg_num(pause).s, pg_num(epoch).s),
                   NULL, err) != 0)
            return -1;
    }
    return 0;
}

struct courier *relay_start(struct payd *payd)
{
    struct courier_options options = {
        .payd = payd,
        .what = "hints",
        /* Two subjects: what stands between them, `activated`, is a request and must not be
         * captured. */
        .stream = {.name = PAYMENT_STREAM,
                   .subject = PAYMENT_SUBJECT_CONFIRMED " " PAYMENT_SUBJECT_REVERSED,
                   .max_age_ms = KEEP_MS,
                   .max_bytes = KEEP_BYTES},
        .hand_on = relay_due};
    return courier_start(&options);
}
