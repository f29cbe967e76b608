/* The process: opens what quoted needs, in the order in which it is released again. */
#include "libcommon/secret_file.h"
#include "services/quoted/api.h"
#include "services/quoted/gauges.h"

#include <string.h>

static struct quoted state;

/* Before it was there once, a dependency keeps the service from being ready; later its loss only
 * degrades it, and prices are still answered. */
static void health(atomic_bool *seen, const char *name, bool ok, const char *detail)
{
    if (ok)
        atomic_store(seen, true);
    service_dependency(state.service, name, !atomic_load(seen), ok, detail);
}

static void postgres_health(void *ctx, bool ok, const char *detail)
{
    (void)ctx;
    health(&state.seen_postgres, "postgres", ok, detail);
}

static void redis_health(void *ctx, bool ok, const char *detail)
{
    (void)ctx;
    health(&state.seen_redis, "redis", ok, detail);
}

static void nats_health(void *ctx, bool ok, const char *detail)
{
    (void)ctx;
    health(&state.seen_nats, "nats", ok, detail);
}

static int open_stores(struct quoted *quoted, struct err *err)
{
    const struct settings *settings = quoted->settings;
    const struct redis_options redis = {.url = settings->redis.url,
                                        .size = (unsigned)settings->redis.sessions,
                                        .on_health = redis_health};
    const struct bus_options bus = {
        .config = &settings->nats, .name = "quoted", .on_health = nats_health};
    const struct pg_options pg = {.conninfo = settings->postgres.url,
                                  .schema = "quotes",
                                  .size = (unsigned)settings->postgres.sessions,
                                  .application = "quoted",
                                  .on_health = postgres_health};
    if (redis_new(&redis, &quoted->redis, err) != 0 || bus_new(&bus, &quoted->bus, err) != 0)
        return -1;
    if (bus_asker_new(quoted->bus, &quoted->asker, err) != 0)
        return -1;
    quoted->pg = pg_new(&pg);
    quoted->store = http_store_redis_new(quoted->redis);
    return 0;
}

static void declare_dependencies(struct service *service)
{
    static const char *const names[] = {"postgres", "redis", "nats", "price book"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        service_dependency(service, names[i], true, false, "not there yet");
}

static void look_at_files(const struct settings_signer *signer)
{
    if (signer->key[0] == '\0')
        secret_file_warn("signer.key_file", signer->key_file);
    secret_file_warn("signer.next_key_file", signer->next_key_file);
}

static int start(struct service *service, struct err *err)
{
    struct quoted *quoted = &state;
    struct pricebook *book = NULL;
    struct keyring *keys = NULL;
    quoted->service = service;
    quoted->settings = service_configuration(service);
    quoted->metrics = service_metrics(service);
    quoted->clock = &clock_system;
    quoted->watch = watch_new((unsigned)quoted->settings->http.threads, quoted->clock);
    pthread_rwlock_init(&quoted->keys_lock, NULL);
    tally_init(&quoted->kept);
    tally_init(&quoted->remembered);
    tally_init(&quoted->idempotent);
    service_set_state(service, quoted);
    declare_dependencies(service);
    if (settings_chain(&quoted->settings->chain, &quoted->chain, err) != 0 ||
        keyring_load(&quoted->settings->signer, &keys, err) != 0 ||
        quoted_rekey(quoted, &keys, err) != 0 ||
        pricebook_load(quoted->settings->pricebook, &quoted->chain, &book, err) != 0)
        return -1;
    look_at_files(&quoted->settings->signer);
    quoted->next = book;
    if (open_stores(quoted, err) != 0)
        return -1;
    quoted_start(quoted);
    selling_start(quoted);
    return api_start(quoted, err);
}

static bool same_chain(const struct pricebook_chain *a, const struct pricebook_chain *b)
{
    return a->domain.chain_id == b->domain.chain_id &&
           memcmp(a->domain.contract, b->domain.contract, 20) == 0 &&
           memcmp(a->tokens, b->tokens, sizeof(a->tokens)) == 0;
}

/* What a change of the contract means for quotes under way cannot be answered in between. */
static int check_fixed(const struct quoted *quoted, const struct settings *settings,
                       struct err *err)
{
    struct pricebook_chain chain;
    if (settings_chain(&settings->chain, &chain, err) != 0)
        return -1;
    if (!same_chain(&chain, &quoted->chain))
        return err_set(err, "the chain or its tokens changed: that needs a restart");
    return 0;
}

static int reload(struct service *service, const void *config, struct err *err)
{
    struct quoted *quoted = service_state(service);
    const struct settings *settings = config;
    struct pricebook *book = NULL;
    struct keyring *keys = NULL;
    if (check_fixed(quoted, settings, err) != 0 ||
        pricebook_load(settings->pricebook, &quoted->chain, &book, err) != 0)
        return -1;
    if (keyring_load(&settings->signer, &keys, err) != 0 || quoted_rekey(quoted, &keys, err) != 0) {
        keyring_free(&keys);
        pricebook_unref(&book);
        return -1;
    }
    look_at_files(&settings->signer);
    watch_tell(quoted->watch, WATCH_UNKNOWN, "");
    selling_changed(quoted);
    atomic_store(&quoted->settings, settings);
    quoted_publish(quoted, book);
    return 0;
}

static void collect(struct service *service)
{
    struct quoted *quoted = service_state(service);
    int64_t lives = 2 * quoted->settings->ttl_ms / 1000 + 60;
    metric_set(metrics_cell(quoted->metrics, GAUGES_KEPT, NULL),
               tally_count(&quoted->kept, clock_mono_ms(quoted->clock) / 1000, lives));
}

static void drain(struct service *service)
{
    http_server_drain(((struct quoted *)service_state(service))->http);
}

static void stop(struct service *service)
{
    struct quoted *quoted = &state;
    (void)service;
    if (quoted->http != NULL)
        http_server_stop(&quoted->http);
    selling_stop(quoted);
    quoted_stop(quoted);
    bus_asker_free(&quoted->asker);
    if (quoted->store != NULL)
        http_store_redis_free(&quoted->store);
    if (quoted->bus != NULL)
        bus_free(&quoted->bus);
    if (quoted->redis != NULL)
        redis_free(&quoted->redis);
    if (quoted->pg != NULL)
        pg_free(&quoted->pg);
    pricebook_unref(&quoted->book);
    pricebook_unref(&quoted->next);
    keyring_free(&quoted->keys);
    watch_free(&quoted->watch);
}

static const struct service_desc desc = {
    .name = "quoted",
    .summary = "sells: price book and signed quotes",
    .default_config = "/etc/octroi/quoted.yaml",
    .config = &settings_schema,
    .metrics = gauges_table,
    .metric_count = GAUGES_COUNT,
    .start = start,
    .reload = reload,
    .collect = collect,
    .drain = drain,
    .stop = stop,
};

int main(int argc, char **argv)
{
    return service_main(&desc, argc, argv);
}
