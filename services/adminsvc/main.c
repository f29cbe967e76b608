/* The process: opens what adminsvc needs, in the order in which it is released again. */
#include "services/adminsvc/api.h"
#include "services/adminsvc/gauges.h"

static struct adminsvc state;

static void postgres_health(void *ctx, bool ok, const char *detail)
{
    service_dependency(ctx, "postgres", true, ok, detail);
}

/* Without the bus only revocations wait. */
static void nats_health(void *ctx, bool ok, const char *detail)
{
    service_dependency(ctx, "nats", false, ok, detail);
}

static int open_all(struct adminsvc *admin, struct err *err)
{
    const struct settings *settings = admin->settings;
    const struct bus_options bus = {.config = &settings->nats,
                                    .name = "adminsvc",
                                    .on_health = nats_health,
                                    .ctx = admin->service};
    const struct pg_options pg = {.conninfo = settings->postgres.url,
                                  .schema = "admin",
                                  .size = (unsigned)settings->postgres.sessions,
                                  .application = "adminsvc",
                                  .on_health = postgres_health,
                                  .ctx = admin->service};
    if (bus_new(&bus, &admin->bus, err) != 0)
        return -1;
    admin->pg = pg_new(&pg);
    admin->failures = failures_new(settings->failures_per_minute);
    return 0;
}

static int start(struct service *service, struct err *err)
{
    struct adminsvc *admin = &state;
    admin->service = service;
    admin->settings = service_configuration(service);
    admin->metrics = service_metrics(service);
    admin->clock = &clock_system;
    service_set_state(service, admin);
    service_dependency(service, "postgres", true, false, "not there yet");
    service_dependency(service, "schema", true, false, "not there yet");
    service_dependency(service, "nats", false, false, "not there yet");
    if (open_all(admin, err) != 0)
        return -1;
    adminsvc_start(admin);
    return api_start(admin, err);
}

static void drain(struct service *service)
{
    http_server_drain(((struct adminsvc *)service_state(service))->http);
}

static void stop(struct service *service)
{
    struct adminsvc *admin = &state;
    (void)service;
    if (admin->http != NULL)
        http_server_stop(&admin->http);
    adminsvc_stop(admin);
    if (admin->bus != NULL)
        bus_free(&admin->bus);
    if (admin->pg != NULL)
        pg_free(&admin->pg);
    failures_free(&admin->failures);
}

static const struct service_desc desc = {
    .name = "adminsvc",
    .summary = "administers: keys, subscriptions, the audit log",
    .default_config = "/etc/octroi/adminsvc.yaml",
    .config = &settings_schema,
    .metrics = gauges_table,
    .metric_count = GAUGES_COUNT,
    .start = start,
    .drain = drain,
    .stop = stop,
};

int main(int argc, char **argv)
{
    return service_main(&desc, argc, argv);
}
