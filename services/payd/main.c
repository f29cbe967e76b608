/* payd: follows the chain, keeps the payments found on it, and tells subd of them. This file only
 * puts the parts together and takes them apart in order. */
#include "libcommon/eth/hex.h"
#include "libcommon/log.h"
#include "libcommon/secret_file.h"
#include "services/payd/api.h"
#include "services/payd/gauges.h"
#include "services/payd/herald.h"
#include "services/payd/leader.h"
#include "services/payd/payd.h"
#include "services/payd/receipt.h"
#include "services/payd/relay.h"
#include "services/payd/wallet.h"
#include "services/payd/watch.h"

#include <string.h>
#include <unistd.h>

struct parts {
    struct payd payd;
    struct http_server *http;
    struct watch *watch;
    struct courier *relay, *herald;
    struct leader *leader;
    struct wallet *wallet;
};

static void on_pg_health(void *ctx, bool ok, const char *detail)
{
    service_dependency(ctx, "postgres", true, ok, detail);
}

static void on_bus_health(void *ctx, bool ok, const char *detail)
{
    service_dependency(ctx, "nats", true, ok, detail);
}

static void name_instance(struct payd *payd)
{
    char host[40] = "";
    gethostname(host, sizeof(host) - 1);
    snprintf(payd->instance, sizeof(payd->instance), "%s:%d", host, (int)getpid());
}

/* A receipt that the contract does not know is still good offline: a warning is enough. */
static int receipts_start(struct payd *payd, struct err *err)
{
    uint8_t address[20];
    char text[43];
    if (payd->settings->receipts.key_file[0] == '\0')
        return 0;
    if (receipt_key(payd->settings->receipts.key_file, &payd->receipt_key, err) != 0)
        return -1;
    sign_key_guard(payd->receipt_key, "receipts.key_file");
    secret_file_warn("receipts.key_file", payd->settings->receipts.key_file);
    sign_key_address(payd->receipt_key, address);
    hex_address_format(address, text);
    if (!payd->target.has_receipt_signer || memcmp(address, payd->target.receipt_signer, 20) != 0)
        log_warn("the deployment file names another receipt signer, or none", LOG_STR(KID, text));
    return 0;
}

static int start(struct service *service, struct err *err)
{
    struct parts *parts = mem_zalloc(sizeof(*parts));
    struct payd *payd = &parts->payd;
    service_set_state(service, parts);
    payd_init(payd);
    payd->service = service;
    payd->settings = service_configuration(service);
    payd->metrics = service_metrics(service);
    name_instance(payd);
    service_dependency(service, "postgres", true, false, "not connected yet");
    service_dependency(service, "nats", true, false, "not connected yet");
    if (settings_target(&payd->settings->chain, &payd->target, err) != 0 ||
        wallet_open(payd, &parts->wallet, err) != 0 || receipts_start(payd, err) != 0)
        return -1;
    struct pg_options pg = {.conninfo = payd->settings->postgres.url,
                            .schema = "payments",
                            .size = (unsigned)payd->settings->postgres.sessions,
                            .application = "payd",
                            .on_health = on_pg_health,
                            .ctx = service};
    struct bus_options bus = {.config = &payd->settings->nats,
                              .name = "payd",
                              .on_health = on_bus_health,
                              .ctx = service};
    payd->pg = pg_new(&pg);
    if (bus_new(&bus, &payd->bus, err) != 0 || api_start(payd, &parts->http, err) != 0)
        return -1;
    parts->watch = watch_start(payd);
    parts->relay = relay_start(payd);
    parts->herald = herald_start(payd);
    parts->leader = leader_start(payd);
    wallet_run(parts->wallet);
    return 0;
}

static void drain(struct service *service)
{
    struct parts *parts = service_state(service);
    http_server_drain(parts->http);
}

/* The leader stops first: a standby goes on while this instance still answers. */
static void stop(struct service *service)
{
    struct parts *parts = service_state(service);
    if (parts == NULL)
        return;
    payd_stop(&parts->payd);
    leader_join(&parts->leader);
    wallet_join(&parts->wallet);
    courier_join(&parts->herald);
    courier_join(&parts->relay);
    watch_join(&parts->watch);
    http_server_stop(&parts->http);
    bus_free(&parts->payd.bus);
    pg_free(&parts->payd.pg);
    payd_destroy(&parts->payd);
    free(parts);
}

static const struct service_desc desc = {
    .name = "payd",
    .summary = "follows the chain and the payments on it",
    .default_config = "/etc/octroi/payd.yaml",
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
