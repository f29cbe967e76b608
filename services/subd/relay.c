/* Holds an advisory lock in a session of its own while it is the one. A number is committed before
 * its change is published, and a change is deleted after: a death between the two publishes the
 * same number again, which a proxy knows by the record's version. */
#include "services/subd/relay.h"

#include "libcommon/log.h"
#include "services/subd/gauges.h"
#include "services/subd/record.h"
#include "services/subd/ticker.h"

#include <string.h>

#define LOCK_KEY   0x6f6374726f693101 /* "octroi1" and 1 */
#define POLL_MS    100
#define STANDBY_MS 1000
#define PUBLISH_MS 2000
#define STREAM_MS  2000

struct relay {
    struct subd *subd;
    struct ticker *ticker;
    struct pg_conn *session; /* holds the lock; NULL: another instance relays */
    bool stream_ready;
};

static const struct pg_stmt unlock_stmt = {"relay_unlock", "SELECT pg_advisory_unlock($1)"};
static const struct pg_stmt number_stmt = {
    "relay_number",
    "WITH base AS (SELECT head FROM relay FOR UPDATE),"
    " next AS (SELECT id, row_number() OVER (ORDER BY id) AS n FROM"
    " (SELECT id FROM outbox WHERE head IS NULL ORDER BY id LIMIT 256) AS waiting),"
    " numbered AS (UPDATE outbox o SET head = base.head + next.n FROM base, next"
    " WHERE o.id = next.id RETURNING o.head)"
    " UPDATE relay SET head = greatest(head, (SELECT coalesce(max(head), 0) FROM numbered))"};
static const struct pg_stmt waiting_stmt = {"relay_waiting",
                                            "SELECT 1 FROM outbox WHERE head IS NULL LIMIT 1"};
static const struct pg_stmt numbered_stmt = {
    "relay_numbered", "SELECT o.head, s.id, s.version, s.state, s.service, s.subscriber, s.tier,"
                      " s.plan, s.start_at, s.expires_at, s.period_seconds,"
                      " coalesce(s.payment_id, '') AS payment_id, s.rate, s.burst, s.requests,"
                      " s.bytes, s.messages, s.cost, s.requests_per_day"
                      " FROM outbox o JOIN subscription s ON s.id = o.subscription"
                      " WHERE o.head IS NOT NULL ORDER BY o.head LIMIT 256"};
static const struct pg_stmt published_stmt = {
    "relay_published", "WITH gone AS (DELETE FROM outbox WHERE head <= $1)"
                       " UPDATE relay SET published = greatest(published, $1) RETURNING published"};

static int publish_row(struct relay *relay, const PGresult *rows, int row, struct err *err)
{
    struct record record;
    if (record_read(rows, row, clock_wall_s(relay->subd->clock), &record, err))
        return -1;
    int64_t head = pg_int(rows, row, "head");
    AUTO_FREE char *subject = mem_printf("%s%s", SUB_SUBJECT_CHANGED, record.pub.id);
    AUTO_FREE char *text = sub_changed_encode(head, &record.pub);
    if (bus_stream_publish(relay->subd->bus, subject, NULL, text, strlen(text), PUBLISH_MS, err))
        return -1;
    metrics_count(relay->subd->metrics, GAUGES_CHANGES, NULL, NULL);
    return 0;
}

static int mark(struct relay *relay, int64_t head, struct err *err)
{
    if (pg_run(relay->session, &published_stmt, PG_PARAMS(pg_num(head).s), NULL, err))
        return -1;
    atomic_store(&relay->subd->head, head);
    return 0;
}

/* -1: the session or the stream failed. *more: there may be more than one batch. */
static int relay_batch(struct relay *relay, bool *more, struct err *err)
{
    AUTO_PG_RESULT PGresult *waiting = NULL;
    AUTO_PG_RESULT PGresult *rows = NULL;
    if (pg_run(relay->session, &waiting_stmt, NULL, 0, &waiting, err))
        return -1;
    if (PQntuples(waiting) && pg_run(relay->session, &number_stmt, NULL, 0, NULL, err))
        return -1;
    if (pg_run(relay->session, &numbered_stmt, NULL, 0, &rows, err))
        return -1;
    int count = PQntuples(rows);
    for (int row = 0; row < count; row++) {
        if (publish_row(relay, rows, row, err))
            return -1;
    }
    *more = count > 0;
    return count ? mark(relay, pg_int(rows, count - 1, "head"), err) : 0;
}

static int take_over(struct relay *relay, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *session = NULL;
    bool held = false;
    if (subd_session(relay->subd, &session, err) || pg_try_lock(session, LOCK_KEY, &held, err))
        return -1;
    if (held) {
        relay->session = MEM_STEAL(session);
        relay->stream_ready = false;
        log_info("this instance publishes changes");
    }
    return 0;
}

/* Lets another instance try: what failed may be this one's connection only. */
static void give_up(struct relay *relay)
{
    struct err ignored;
    if (pg_run(relay->session, &unlock_stmt, PG_PARAMS(pg_num(LOCK_KEY).s), NULL, &ignored))
        log_debug("lock of the relay is lost", LOG_STR(ERROR, ignored.msg));
    pg_release(&relay->session);
}

static int ensure_stream(struct relay *relay, struct err *err)
{
    static const struct bus_stream stream = {
        .name = SUB_STREAM, .subject = SUB_SUBJECT_CHANGED "*", .max_per_subject = 1};
    if (!relay->stream_ready && bus_stream_ensure(relay->subd->bus, &stream, STREAM_MS, err))
        return -1;
    relay->stream_ready = true;
    return 0;
}

static int64_t step(void *ctx)
{
    struct relay *relay = ctx;
    struct err err;
    bool more = false;
    if (!relay->session && take_over(relay, &err)) {
        log_debug("changes wait", LOG_STR(ERROR, err.msg));
        return STANDBY_MS;
    }
    if (!relay->session)
        return STANDBY_MS;
    if (ensure_stream(relay, &err) || relay_batch(relay, &more, &err)) {
        log_warn("changes wait", LOG_STR(ERROR, err.msg));
        give_up(relay);
        return STANDBY_MS;
    }
    return more ? 0 : POLL_MS;
}

int relay_start(struct subd *subd, struct relay **out, struct err *err)
{
    struct relay *relay = mem_zalloc(sizeof(*relay));
    *out = relay;
    relay->subd = subd;
    if (ticker_start("relay", step, relay, &relay->ticker, err))
        return -1;
    subd->relay = relay->ticker;
    return 0;
}

void relay_stop(struct relay **ptr)
{
    struct relay *relay = *ptr;
    if (!relay)
        return;
    *ptr = NULL;
    relay->subd->relay = NULL;
    ticker_stop(&relay->ticker);
    if (relay->session)
        give_up(relay);
    free(relay);
}
