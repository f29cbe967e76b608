/* Migrations and the follower's row first, retried until PostgreSQL is there; only then does this
 * instance join those that answer on the bus, so that a fresh one refuses nobody. Then the chain's
 * health as every instance sees it, by the age of the leader's last successful poll. */
#include "services/payd/watch.h"

#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "services/payd/gauges.h"
#include "services/payd/ledger.h"
#include "services/payd/query.h"
#include "services/payd/refunds.h"
#include "services/payd/store.h"
#include "services/payd/verbs.h"
#include "services/payd/wallet.h"

#include <stdio.h>
#include <string.h>

#define EVERY_MS    1000
#define COUNT_EACH  5 /* turns */
#define SPREAD_EACH 5
#define AWAY_MS     500

struct watch {
    struct payd *payd;
    pthread_t thread;
    struct verbs *verbs; /* NULL: the database is not ready yet */
    bool told;
    bool spread_failed; /* and was told of */
    unsigned turns;
    int64_t started_at; /* monotonic ms */
};

extern const struct pg_migration payd_migrations[];
extern const size_t payd_migrations_count;

static int prepare(struct payd *payd, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    int64_t follower;
    if (pg_acquire(payd->pg, AWAY_MS, &conn, err) != 0 ||
        pg_migrate(conn, "payments", payd_migrations, payd_migrations_count, err) != 0 ||
        store_open(conn, &payd->target.domain, payd->target.first, &follower, err) != 0)
        return -1;
    atomic_store(&payd->follower, (int)follower);
    return 0;
}

static void show_states(struct payd *payd, const PGresult *states, enum gauges which)
{
    for (int i = 0; i < LEDGER_STATES; i++) {
        const char *name = ledger_name((enum ledger_state)i);
        int64_t n = 0;
        bool never = i == LEDGER_ACTIVATED || (which == GAUGES_TRANSFERS && i == LEDGER_REJECTED);
        for (int row = 0; row < PQntuples(states); row++) {
            if (strcmp(pg_text(states, row, "state"), name) == 0)
                n = pg_int(states, row, "count");
        }
        if (!never)
            metric_set(metrics_cell(payd->metrics, which, (const char *const[]){name}), n);
    }
}

static void count(struct payd *payd, struct pg_conn *conn)
{
    AUTO_PG_RESULT PGresult *states = NULL;
    AUTO_PG_RESULT PGresult *transfers = NULL;
    int64_t hints, age, follower = atomic_load(&payd->follower);
    if (query_states(conn, follower, &states, NULL) == 0)
        show_states(payd, states, GAUGES_PAYMENTS);
    if (query_transfer_states(conn, follower, &transfers, NULL) == 0)
        show_states(payd, transfers, GAUGES_TRANSFERS);
    if (query_outbox(conn, follower, &hints, &age, NULL) == 0) {
        metric_set(metrics_cell(payd->metrics, GAUGES_OUTBOX, NULL), hints);
        metric_set(metrics_cell(payd->metrics, GAUGES_OUTBOX_AGE, NULL), age);
    }
    if (query_events(conn, follower, &hints, &age, NULL) == 0) {
        metric_set(metrics_cell(payd->metrics, GAUGES_EVENT_OUTBOX, NULL), hints);
        metric_set(metrics_cell(payd->metrics, GAUGES_EVENT_OUTBOX_AGE, NULL), age);
    }
}

/* What subd has revoked is revoked on the chain too, or it could be paid for again. */
static void spread_revocations(struct watch *watch, struct pg_conn *conn)
{
    struct payd *payd = watch->payd;
    struct err err = {{0}};
    int64_t added = 0;
    struct refunds refunds = {.conn = conn,
                              .follower = atomic_load(&payd->follower),
                              .target = &payd->target,
                              .now_s = clock_wall_s(&clock_system),
                              .wallet = wallet_configured(payd)};
    if (!payd->settings->refunds.revoked)
        return;
    bool failed = refunds_spread(&refunds, &added, &err) != 0;
    if (failed && !watch->spread_failed)
        log_warn("revocations cannot be written to the chain", LOG_STR(ERROR, err.msg));
    if (added > 0)
        log_info("revocations are written to the chain", LOG_INT(COUNT, added));
    watch->spread_failed = failed;
}

/* Without the chain everything that was bought goes on; nothing new is confirmed or quoted. */
static void show_away(struct watch *watch, const struct query_status *status)
{
    struct payd *payd = watch->payd;
    int64_t now = clock_mono_ms(&clock_system), away_ms = status->polled_ms;
    int64_t left = status->head - status->cursor;
    char detail[96] = "", since[32];
    bool fresh = status->polled_ms <= payd->settings->chain.stale_after_ms;
    if (status->polled_ms == INT64_MAX) {
        away_ms = now - watch->started_at;
        snprintf(detail, sizeof(detail), "read-only: no endpoint has given a usable answer yet");
    } else if (!fresh) {
        clock_rfc3339(status->polled_at, since);
        snprintf(detail, sizeof(detail), "read-only: no usable answer of any endpoint since %s",
                 since);
    } else if (status->disagreed_ms > payd->settings->chain.stale_after_ms) {
        snprintf(detail, sizeof(detail), "read-only: the endpoints contradict each other");
    } else if (left > payd->settings->chain.tail) {
        snprintf(detail, sizeof(detail), "catching up: %lld blocks left", (long long)left);
    }
    service_dependency(payd->service, "chain", false, detail[0] == '\0', detail);
    metric_set(metrics_cell(payd->metrics, GAUGES_AWAY, NULL), fresh ? 0 : away_ms / 1000);
}

static void show_status(struct watch *watch, const struct query_status *status)
{
    struct payd *payd = watch->payd;
    show_away(watch, status);
    if (atomic_load(&payd->epoch) != 0)
        return;
    metric_set(metrics_cell(payd->metrics, GAUGES_HEAD, NULL), status->head);
    metric_set(metrics_cell(payd->metrics, GAUGES_CURSOR, NULL), status->cursor);
    metric_set(metrics_cell(payd->metrics, GAUGES_LAG, NULL), status->head - status->cursor);
}

static void turn(struct watch *watch)
{
    struct payd *payd = watch->payd;
    struct err err = {{0}};
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    struct query_status status;
    if (atomic_load(&payd->follower) == 0) {
        if (prepare(payd, &err) != 0 && !watch->told) {
            log_warn("waiting for the database", LOG_STR(ERROR, err.msg));
            watch->told = true;
        }
        return;
    }
    if (watch->verbs == NULL) {
        bool ok = verbs_start(payd, &watch->verbs, &err) == 0;
        service_dependency(payd->service, "schema", true, ok, err.msg);
        if (!ok)
            verbs_stop(&watch->verbs);
    }
    if (pg_acquire(payd->pg, AWAY_MS, &conn, &err) != 0 ||
        query_status(conn, atomic_load(&payd->follower), &status, &err) != 0)
        return;
    show_status(watch, &status);
    if (watch->turns % SPREAD_EACH == SPREAD_EACH - 1 && atomic_load(&payd->epoch) != 0)
        spread_revocations(watch, conn);
    if (watch->turns++ % COUNT_EACH == 0)
        count(payd, conn);
}

static void *watch_main(void *ctx)
{
    struct watch *watch = ctx;
    do {
        turn(watch);
    } while (
        !payd_sleep(watch->payd, atomic_load(&watch->payd->follower) == 0 ? AWAY_MS : EVERY_MS));
    return NULL;
}

struct watch *watch_start(struct payd *payd)
{
    struct watch *watch = mem_zalloc(sizeof(*watch));
    watch->payd = payd;
    watch->started_at = clock_mono_ms(&clock_system);
    service_dependency(payd->service, "schema", true, false, "not made yet");
    service_dependency(payd->service, "chain", false, false, "not asked yet");
    if (pthread_create(&watch->thread, NULL, watch_main, watch) != 0)
        abort();
    return watch;
}

void watch_join(struct watch **watch_ptr)
{
    struct watch *watch = *watch_ptr;
    *watch_ptr = NULL;
    if (watch == NULL)
        return;
    pthread_join(watch->thread, NULL);
    verbs_stop(&watch->verbs);
    free(watch);
}
