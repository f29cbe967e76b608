/* Rows go out in order of their number and are deleted when the stream has them; what lies between
 * the two is sent again after a crash, under the same id. A row that the stream refuses waits, and
 * with it only those about the same thing. What nobody takes for too long is dropped and counted:
 * events are news, and the truth stands in the tables. */
#include "services/payd/herald.h"

#include "libcommon/log.h"
#include "services/payd/events.h"
#include "services/payd/gauges.h"

#include <string.h>

#define BATCH           100
#define ACQUIRE_MS      1000
#define STREAM_KEEP_MS  ((int64_t)7 * 24 * 3600 * 1000)
#define STREAM_BYTES    ((int64_t)1024 * 1024 * 1024)
#define TRIM_EACH_MS    10000
#define POSTPONE_MS     1000
#define POSTPONE_MAX_MS 60000

struct herald {
    struct payd *payd;
    int64_t trimmed_at; /* monotonic ms */
};

static const struct pg_stmt due_stmt = {
    "herald_due",
    "SELECT e.id, e.event, e.type, e.subject, e.data::text AS data, to_char(e.at AT TIME ZONE "
    "'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS at, '/payd/' || f.chain_id || '/' || "
    "f.contract AS source FROM event_outbox e JOIN follower f ON f.id = e.follower WHERE "
    "e.follower = $1 AND NOT EXISTS (SELECT FROM event_outbox b WHERE b.follower = e.follower AND "
    "b.subject = e.subject AND b.id <= e.id AND b.attempts > 0 AND b.next_at > clock_timestamp()) "
    "ORDER BY e.id LIMIT $2"};
static const struct pg_stmt gone_stmt = {
    "herald_gone", "DELETE FROM event_outbox WHERE follower = $1 AND id = ANY ($2::bigint[])"};
static const struct pg_stmt postpone_stmt = {
    "herald_postpone",
    "UPDATE event_outbox SET attempts = attempts + 1, next_at = clock_timestamp() + "
    "least($3::float "
    "* 2 ^ least(attempts, 20), $4::float) * interval '1 millisecond' WHERE follower = $1 AND id = "
    "$2"};
static const struct pg_stmt trim_stmt = {
    "herald_trim",
    "WITH gone AS (DELETE FROM event_outbox WHERE follower = $1 AND (at < clock_timestamp() - "
    "$2::bigint * interval '1 millisecond' OR id <= (SELECT id FROM event_outbox WHERE follower = "
    "$1 ORDER BY id DESC OFFSET $3 LIMIT 1)) RETURNING 1) SELECT count(*) AS count FROM gone"};

/* Bounds the table; only for a leader, as everything here. */
static int trim(struct herald *herald, struct pg_conn *conn, struct err *err)
{
    struct payd *payd = herald->payd;
    AUTO_PG_RESULT PGresult *gone = NULL;
    int64_t now = clock_mono_ms(&clock_system);
    if (herald->trimmed_at != 0 && now - herald->trimmed_at < TRIM_EACH_MS)
        return 0;
    herald->trimmed_at = now;
    if (pg_run(conn, &trim_stmt,
               PG_PARAMS(pg_num(atomic_load(&payd->follower)).s,
                         pg_num(payd->settings->events.keep_ms).s,
                         pg_num(payd->settings->events.max_rows).s),
               &gone, err) != 0)
        return -1;
    int64_t count = pg_int(gone, 0, "count");
    if (count > 0) {
        metric_add(metrics_cell(payd->metrics, GAUGES_EVENTS, (const char *const[]){"dropped"}),
                   count);
        log_error("events that nobody took were dropped", LOG_INT(COUNT, count));
    }
    return 0;
}

static int publish(struct courier *courier, const PGresult *due, int row, struct err *err)
{
    AUTO_FREE char *text = NULL;
    const char *id = pg_text(due, row, "event"), *type = pg_text(due, row, "type");
    AUTO_FREE char *subject = mem_printf("%s%s", EVENTS_SUBJECT, type);
    if (event_encode(id, pg_text(due, row, "source"), type, pg_text(due, row, "subject"),
                     pg_text(due, row, "at"), pg_text(due, row, "data"), &text, err) != 0)
        return -1;
    int rc = courier_publish(courier, subject, id, text, err);
    metrics_count(courier_payd(courier)->metrics, GAUGES_EVENTS, rc == 0 ? "published" : "failed",
                  NULL);
    return rc;
}

static int postpone(struct payd *payd, struct pg_conn *conn, const char *id)
{
    return pg_run(conn, &postpone_stmt,
                  PG_PARAMS(pg_num(atomic_load(&payd->follower)).s, id, pg_num(POSTPONE_MS).s,
                            pg_num(POSTPONE_MAX_MS).s),
                  NULL, NULL);
}

/* `ids` becomes the array of those that the stream has. */
static int publish_all(struct courier *courier, struct pg_conn *conn, const PGresult *due,
                       struct buf *ids, struct err *err)
{
    struct payd *payd = courier_payd(courier);
    for (int row = 0; row < PQntuples(due) && !atomic_load(&payd->stop); row++) {
        const char *id = pg_text(due, row, "id");
        if (publish(courier, due, row, err) != 0) {
            /* Without the server none of them would go out, and none is to blame. */
            if (bus_connected(payd->bus) && postpone(payd, conn, id) != 0)
                log_debug("an event could not be postponed", LOG_STR(NAME, id));
            return -1;
        }
        buf_printf(ids, "%s%s", ids->len == 0 ? "{" : ",", id);
    }
    return 0;
}

static int herald_due(struct courier *courier, int64_t epoch, bool *more, struct err *err)
{
    struct herald *herald = courier_ctx(courier);
    struct payd *payd = herald->payd;
    struct pg_num follower = pg_num(atomic_load(&payd->follower));
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    AUTO_PG_RESULT PGresult *due = NULL;
    AUTO_BUF struct buf ids = {0};
    (void)epoch; /* a leader that was replaced sends again what another has sent, at most */
    if (pg_acquire(payd->pg, ACQUIRE_MS, &conn, err) != 0 || trim(herald, conn, err) != 0 ||
        pg_run(conn, &due_stmt, PG_PARAMS(follower.s, pg_num(BATCH).s), &due, err) != 0)
        return -1;
    *more = PQntuples(due) == BATCH;
    int rc = publish_all(courier, conn, due, &ids, err);
    if (ids.len == 0)
        return rc;
    buf_printf(&ids, "}");
    if (pg_run(conn, &gone_stmt, PG_PARAMS(follower.s, ids.data), NULL, rc == 0 ? err : NULL) != 0)
        return -1;
    return rc;
}

struct courier *herald_start(struct payd *payd)
{
    struct herald *herald = mem_zalloc(sizeof(*herald));
    herald->payd = payd;
    struct courier_options options = {.payd = payd,
                                      .what = "events",
                                      .stream = {.name = EVENTS_STREAM,
                                                 .subject = EVENTS_SUBJECT ">",
                                                 .max_age_ms = STREAM_KEEP_MS,
                                                 .max_bytes = STREAM_BYTES,
                                                 .drop_oldest = true},
                                      .hand_on = herald_due,
                                      .ctx = herald};
    return courier_start(&options);
}
