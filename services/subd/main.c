/* subd: what has been bought, what is left of it, and who may use it. This file is the order in
 * which its parts start and stop. */
#include "libcommon/log.h"
#include "libcommon/proto/payment.h"
#include "libcommon/proto/usage.h"
#include "services/subd/api.h"
#include "services/subd/beat.h"
#include "services/subd/desk.h"
#include "services/subd/expiry.h"
#include "services/subd/gauges.h"
#include "services/subd/keyring.h"
#include "services/subd/ledger.h"
#include "services/subd/payments.h"
#include "services/subd/relay.h"
#include "services/subd/ticker.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BOOT_RETRY_MS 500
#define BOOT_AGAIN_MS 5000
#define STREAM_MS     2000
#define USAGE_BYTES   (INT64_C(2) << 30)
/* As payd has them: whoever starts first makes the stream. */
#define PAYMENTS_MS    (INT64_C(24) * 3600 * 1000)
#define PAYMENTS_BYTES (INT64_C(256) << 20)

extern const struct pg_migration subd_migrations[];
extern const size_t subd_migrations_count;

struct app {
    struct subd subd;
    struct service *service;
    struct http_server *http;
    struct ticker *boot;
    struct relay *relay;
    struct beat *beat;
    struct expiry *expiry;
    struct payments *payments;
    struct ledger *ledger;
    struct desk *desk;
};

static void pg_health(void *ctx, bool ok, const char *detail)
{
    service_dependency(ctx, "postgres", true, ok, detail);
}

static void redis_health(void *ctx, bool ok, const char *detail)
{
    service_dependency(ctx, "redis", false, ok, detail);
}

static void bus_health(void *ctx, bool ok, const char *detail)
{
    service_dependency(ctx, "nats", true, ok, detail);
}

static int migrate(struct app *app, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (atomic_load(&app->subd.migrated))
        return 0;
    if (pg_acquire(app->subd.pg, SUBD_PG_WAIT_MS, &conn, err) ||
        pg_migrate(conn, "subscriptions", subd_migrations, subd_migrations_count, err))
        return -1;
    atomic_store(&app->subd.migrated, true);
    return 0;
}

/* subd makes every stream that it reads or writes: any order of start will do, and one that was
 * lost with its server is there again soon. */
static int ensure_streams(struct app *app, struct err *err)
{
    static const struct bus_stream streams[] = {
        {.name = SUB_STREAM, .subject = SUB_SUBJECT_CHANGED "*", .max_per_subject = 1},
        {.name = USAGE_STREAM,
         .subject = USAGE_SUBJECT "*",
         .work_queue = true,
         .max_bytes = USAGE_BYTES},
        {.name = PAYMENT_STREAM,
         .subject = PAYMENT_SUBJECT_CONFIRMED " " PAYMENT_SUBJECT_REVERSED,
         .max_age_ms = PAYMENTS_MS,
         .max_bytes = PAYMENTS_BYTES},
    };
    for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
        if (bus_stream_ensure(app->subd.bus, &streams[i], STREAM_MS, err))
            return -1;
    }
    return 0;
}

static int64_t boot(void *ctx)
{
    struct app *app = ctx;
    struct err err;
    bool schema = migrate(app, &err) == 0;
    service_dependency(app->service, "schema", true, schema, schema ? "" : err.msg);
    bool streams = ensure_streams(app, &err) == 0;
    service_dependency(app->service, "streams", true, streams, streams ? "" : err.msg);
    return schema && streams ? BOOT_AGAIN_MS : BOOT_RETRY_MS;
}

static int connect_all(struct app *app, struct err *err)
{
    struct subd *subd = &app->subd;
    const struct settings *settings = subd->settings;
    service_dependency(app->service, "postgres", true, false, "connecting");
    service_dependency(app->service, "nats", true, false, "connecting");
    service_dependency(app->service, "schema", true, false, "waiting for postgres");
    service_dependency(app->service, "streams", true, false, "waiting for nats");
    subd->pg = pg_new(&(struct pg_options){.conninfo = settings->postgres.url,
                                           .schema = "subscriptions",
                                           .size = (unsigned)settings->postgres.sessions,
                                           .application = "octroi-subd",
                                           .on_health = pg_health,
                                           .ctx = app->service});
    if (redis_new(&(struct redis_options){.url = settings->redis.url,
                                          .on_health = redis_health,
                                          .ctx = app->service},
                  &subd->redis, err))
        return -1;
    return bus_new(&(struct bus_options){.config = &settings->nats,
                                         .name = "subd",
                                         .on_health = bus_health,
                                         .ctx = app->service},
                   &subd->bus, err);
}

static int start_parts(struct app *app, struct err *err)
{
    struct subd *subd = &app->subd;
    if (ticker_start("boot", boot, app, &app->boot, err) || relay_start(subd, &app->relay, err) ||
        beat_start(subd, &app->beat, err) || expiry_start(subd, &app->expiry, err) ||
        payments_start(subd, &app->payments, err) || ledger_start(subd, &app->ledger, err) ||
        desk_start(subd, &app->desk, err))
        return -1;
    return api_start(subd, &app->http, err);
}

static int start(struct service *service, struct err *err)
{
    struct app *app = mem_zalloc(sizeof(*app));
    struct subd *subd = &app->subd;
    char host[40] = "";
    service_set_state(service, app);
    app->service = service;
    subd->settings = service_configuration(service);
    subd->metrics = service_metrics(service);
    subd->clock = &clock_system;
    gethostname(host, sizeof(host) - 1);
    snprintf(subd->instance, sizeof(subd->instance), "%s:%d", host, (int)getpid());
    if (settings_authority(subd->settings->public_url, subd->authority, err) ||
        settings_domain(subd->settings, &subd->domain, err) ||
        keyring_new(&subd->settings->tokens.keys, &subd->keys, err) || connect_all(app, err))
        return -1;
    return start_parts(app, err);
}

static void drain(struct service *service)
{
    struct app *app = service_state(service);
    http_server_drain(app->http);
}

/* Who asks stops first, what answers after; connections last. */
static void stop(struct service *service)
{
    struct app *app = service_state(service);
    if (!app)
        return;
    http_server_stop(&app->http);
    desk_stop(&app->desk);
    ledger_stop(&app->ledger);
    payments_stop(&app->payments);
    expiry_stop(&app->expiry);
    beat_stop(&app->beat);
    ticker_stop(&app->boot);
    relay_stop(&app->relay);
    bus_free(&app->subd.bus);
    redis_free(&app->subd.redis);
    pg_free(&app->subd.pg);
    keyring_free(&app->subd.keys);
    service_set_state(service, NULL);
    free(app);
}

int main(int argc, char **argv)
{
    static const struct service_desc desc = {
        .name = "subd",
        .summary = "subscriptions, access tokens, quotas and usage",
        .default_config = "/etc/octroi/subd.yaml",
        .config = &settings_schema,
        .metrics = gauges_table,
        .metric_count = GAUGES_COUNT,
        .start = start,
        .drain = drain,
        .stop = stop,
    };
    return service_main(&desc, argc, argv);
}
