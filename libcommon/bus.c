/* The connection to NATS. The library reconnects by itself; a supervisor thread makes the
 * connection object, and makes it anew where the library gives up (it does after two refusals of
 * the credentials), so that no mistake of an operator needs a restart of every service. */
#include "libcommon/bus_internal.h"

#include "libcommon/clock.h"
#include "libcommon/log.h"

#include <string.h>
#include <sys/random.h>

#define CONNECT_MS      2000
#define PING_MS         5000
#define BACKOFF_MIN_MS  100
#define BACKOFF_MAX_MS  2000
#define GIVEN_UP_MS     3000 /* before a connection that was given up is made anew */
#define CLOSE_MS        5000 /* for drain, and for the library to let go */
#define MAX_CREDENTIALS 4096

int64_t bus_now_ms(void)
{
    return clock_mono_ms(&clock_system);
}

void bus_wait(struct bus *bus, int64_t deadline_ms)
{
    struct timespec until = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
    pthread_cond_timedwait(&bus->changed, &bus->lock, &until);
}

bool bus_wait_connected(struct bus *bus, int64_t deadline_ms)
{
    pthread_mutex_lock(&bus->lock);
    while (!bus->connected && !bus->stopping && bus_now_ms() < deadline_ms)
        bus_wait(bus, deadline_ms);
    bool connected = bus->connected;
    pthread_mutex_unlock(&bus->lock);
    return connected;
}

bool bus_connected(struct bus *bus)
{
    return bus_wait_connected(bus, 0);
}

unsigned bus_epoch(struct bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    unsigned epoch = bus->epoch;
    pthread_mutex_unlock(&bus->lock);
    return epoch;
}

static void random_bytes(void *out, size_t len)
{
    if (getrandom(out, len, 0) != (ssize_t)len)
        abort();
}

char *bus_inbox(const struct bus *bus)
{
    uint64_t r[2];
    random_bytes(r, sizeof(r));
    return mem_printf("_INBOX_%s.%016llx%016llx", bus->name, (unsigned long long)r[0],
                      (unsigned long long)r[1]);
}

static void tell(struct bus *bus, bool connected, const char *detail)
{
    if (connected)
        log_info("nats is connected", LOG_STR(DEPENDENCY, "nats"));
    else
        log_warn("nats is away", LOG_STR(DEPENDENCY, "nats"), LOG_STR(ERROR, detail));
    if (bus->on_health != NULL)
        bus->on_health(bus->ctx, connected, detail);
}

static void set_state(struct bus *bus, bool connected, bool closed, const char *detail)
{
    pthread_mutex_lock(&bus->telling);
    pthread_mutex_lock(&bus->lock);
    bool changed = (!bus->told || bus->connected != connected) && !bus->stopping;
    bus->told = true;
    bus->connected = connected;
    bus->closed = closed;
    bus->epoch += connected;
    pthread_cond_broadcast(&bus->changed);
    pthread_mutex_unlock(&bus->lock);
    if (changed)
        tell(bus, connected, detail);
    pthread_mutex_unlock(&bus->telling);
}

/* The first attempt failed; a later one may have succeeded meanwhile. */
static void set_first_state(struct bus *bus)
{
    pthread_mutex_lock(&bus->telling);
    pthread_mutex_lock(&bus->lock);
    bool first = !bus->told && !bus->stopping;
    bus->told = true;
    pthread_mutex_unlock(&bus->lock);
    if (first)
        tell(bus, false, "no server can be reached");
    pthread_mutex_unlock(&bus->telling);
}

static void on_connected(natsConnection *nc, void *ctx)
{
    (void)nc;
    set_state(ctx, true, false, "");
}

static void on_disconnected(natsConnection *nc, void *ctx)
{
    (void)nc;
    set_state(ctx, false, false, "the connection was lost");
}

static void on_closed(natsConnection *nc, void *ctx)
{
    const char *reason = NULL;
    if (natsConnection_GetLastError(nc, &reason) == NATS_OK || reason == NULL || *reason == '\0')
        reason = "the connection was closed";
    set_state(ctx, false, true, reason);
}

/* Slow consumers and refused permissions arrive here, long after the call that caused them. */
static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus status, void *ctx)
{
    (void)ctx;
    const char *reason = NULL;
    if (natsConnection_GetLastError(nc, &reason) == NATS_OK || reason == NULL || *reason == '\0')
        reason = natsStatus_GetText(status);
    log_error("nats reported an error", LOG_STR(ERROR, reason),
              LOG_STR(SUBJECT, sub == NULL ? NULL : natsSubscription_GetSubject(sub)));
}

static int64_t reconnect_delay(natsConnection *nc, int attempts, void *ctx)
{
    (void)nc;
    (void)ctx;
    int64_t delay = BACKOFF_MAX_MS;
    if (attempts < 5)
        delay = BACKOFF_MIN_MS << attempts;
    uint32_t r;
    random_bytes(&r, sizeof(r));
    return delay / 2 + r % (uint32_t)(delay / 2);
}

static bool valid_name(const char *name)
{
    return *name != '\0' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
               strlen(name);
}

static bool is_creds_path(const char *credentials)
{
    size_t len = strlen(credentials);
    return len > 6 && strcmp(credentials + len - 6, ".creds") == 0;
}

/* What the configuration loader checks, too: its error carries file and line. */
static int check_config(void *section, struct err *err)
{
    const struct bus_config *config = section;
    const char *const *urls = config->urls.items;
    for (size_t i = 0; i < config->urls.count; i++)
        if (strncmp(urls[i], "nats://", 7) != 0 && strncmp(urls[i], "tls://", 6) != 0)
            return err_set(err, "urls: item %zu must begin with nats:// or tls://", i + 1);
    if (config->urls.count == 0)
        return err_set(err, "urls: at least one is needed");
    const char *credentials = config->credentials;
    if (credentials == NULL || *credentials == '\0' || is_creds_path(credentials))
        return 0;
    if (strlen(credentials) > MAX_CREDENTIALS || strchr(credentials, ':') == NULL)
        return err_set(err, "credentials: must be user:password, or the path of a .creds file");
    return 0;
}

static const struct config_field config_fields[] = {
    CONFIG_FIELD(struct bus_config, urls, "urls", CONFIG_STRINGS, .required = true, .min = 1,
                 .max = 16, .doc = "servers, as nats://host:port or tls://host:port"),
    CONFIG_FIELD(struct bus_config, credentials, "credentials", CONFIG_STRING, .fallback = "",
                 .secret = true,
                 .doc = "user:password, or the path of a file that ends in .creds; empty: none"),
};
const struct config_schema bus_config_schema = {
    .name = "nats",
    .size = sizeof(struct bus_config),
    .fields = config_fields,
    .count = ARRAY_LEN(config_fields),
    .check = check_config,
};

static natsStatus set_credentials(natsOptions *options, const char *credentials)
{
    if (credentials == NULL || *credentials == '\0')
        return NATS_OK;
    if (is_creds_path(credentials))
        return natsOptions_SetUserCredentialsFromFiles(options, credentials, NULL);
    const char *colon = strchr(credentials, ':');
    AUTO_FREE char *user = mem_strndup(credentials, (size_t)(colon - credentials));
    return natsOptions_SetUserInfo(options, user, colon + 1);
}

static natsStatus set_callbacks(struct bus *bus)
{
    natsOptions *o = bus->options;
    natsStatus s = natsOptions_SetRetryOnFailedConnect(o, true, on_connected, bus);
    if (s == NATS_OK)
        s = natsOptions_SetReconnectedCB(o, on_connected, bus);
    if (s == NATS_OK)
        s = natsOptions_SetDisconnectedCB(o, on_disconnected, bus);
    if (s == NATS_OK)
        s = natsOptions_SetClosedCB(o, on_closed, bus);
    if (s == NATS_OK)
        s = natsOptions_SetErrorHandler(o, on_error, bus);
    if (s == NATS_OK)
        s = natsOptions_SetCustomReconnectDelay(o, reconnect_delay, NULL);
    return s;
}

static natsStatus set_options(struct bus *bus, const struct bus_config *config)
{
    natsOptions *o = bus->options;
    AUTO_FREE char *inbox = mem_printf("_INBOX_%s", bus->name);
    natsStatus s =
        natsOptions_SetServers(o, (const char **)config->urls.items, (int)config->urls.count);
    if (s == NATS_OK)
        s = set_credentials(o, config->credentials);
    if (s == NATS_OK)
        s = natsOptions_SetName(o, bus->name);
    if (s == NATS_OK)
        s = natsOptions_SetCustomInboxPrefix(o, inbox);
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(o, CONNECT_MS);
    if (s == NATS_OK)
        s = natsOptions_SetMaxReconnect(o, -1);
    if (s == NATS_OK)
        s = natsOptions_SetPingInterval(o, PING_MS);
    /* Else an answer waits a millisecond for others to go with it. */
    if (s == NATS_OK)
        s = natsOptions_SetSendAsap(o, true);
    return s == NATS_OK ? set_callbacks(bus) : s;
}

/* Makes the connection object; the library goes on trying where the server is away. */
static void connect_object(struct bus *bus)
{
    natsConnection *nc = NULL;
    pthread_mutex_lock(&bus->lock);
    bus->closed = false;
    pthread_mutex_unlock(&bus->lock);
    natsStatus s = natsConnection_Connect(&nc, bus->options);
    if (s != NATS_OK && s != NATS_NOT_YET_CONNECTED) {
        set_state(bus, false, true, natsStatus_GetText(s));
        return;
    }
    pthread_rwlock_wrlock(&bus->nc_lock);
    bus->nc = nc;
    bus_subs_attach(bus);
    pthread_rwlock_unlock(&bus->nc_lock);
    if (s == NATS_OK)
        set_state(bus, true, false, "");
    else
        set_first_state(bus);
}

static void destroy_object(struct bus *bus)
{
    pthread_rwlock_wrlock(&bus->nc_lock);
    natsConnection *nc = bus->nc;
    bus->nc = NULL;
    pthread_rwlock_unlock(&bus->nc_lock);
    if (nc == NULL)
        return;
    bus_subs_detach(bus);
    natsConnection_Destroy(nc);
}

static void *supervise(void *arg)
{
    struct bus *bus = arg;
    bool again = false;
    pthread_mutex_lock(&bus->lock);
    while (!bus->stopping) {
        if (!bus->closed) {
            pthread_cond_wait(&bus->changed, &bus->lock);
            continue;
        }
        int64_t deadline = bus_now_ms() + (again ? GIVEN_UP_MS : 0);
        while (!bus->stopping && bus_now_ms() < deadline)
            bus_wait(bus, deadline);
        if (bus->stopping)
            break;
        again = true;
        pthread_mutex_unlock(&bus->lock);
        destroy_object(bus);
        connect_object(bus);
        pthread_mutex_lock(&bus->lock);
    }
    pthread_mutex_unlock(&bus->lock);
    return NULL;
}

static void init_locks(struct bus *bus)
{
    pthread_condattr_t attr;
    pthread_rwlock_init(&bus->nc_lock, NULL);
    pthread_mutex_init(&bus->telling, NULL);
    pthread_mutex_init(&bus->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&bus->changed, &attr);
    pthread_condattr_destroy(&attr);
}

static void free_bus(struct bus *bus)
{
    natsOptions_Destroy(bus->options);
    pthread_cond_destroy(&bus->changed);
    pthread_mutex_destroy(&bus->lock);
    pthread_mutex_destroy(&bus->telling);
    pthread_rwlock_destroy(&bus->nc_lock);
    free(bus->name);
    free(bus);
}

int bus_new(const struct bus_options *options, struct bus **out, struct err *err)
{
    struct bus_config config = *options->config;
    if (!valid_name(options->name))
        return err_set(err, "a name on the bus holds letters, digits, _ and - only");
    if (check_config(&config, err) != 0)
        return err_wrap(err, "nats");
    struct bus *bus = mem_zalloc(sizeof(*bus));
    bus->name = mem_strdup(options->name);
    bus->on_health = options->on_health;
    bus->ctx = options->ctx;
    bus->closed = true;
    init_locks(bus);
    natsStatus s = natsOptions_Create(&bus->options);
    if (s == NATS_OK)
        s = set_options(bus, &config);
    if (s != NATS_OK) {
        free_bus(bus);
        return err_set(err, "nats: %s", natsStatus_GetText(s));
    }
    if (pthread_create(&bus->supervisor, NULL, supervise, bus) != 0)
        abort();
    *out = bus;
    return 0;
}

/* Until the library has called on_closed, its threads may still call into the bus. */
static void wait_closed(struct bus *bus)
{
    int64_t deadline = bus_now_ms() + CLOSE_MS;
    pthread_mutex_lock(&bus->lock);
    while (!bus->closed && bus_now_ms() < deadline)
        bus_wait(bus, deadline);
    pthread_mutex_unlock(&bus->lock);
}

void bus_free(struct bus **busp)
{
    struct bus *bus = *busp;
    if (bus == NULL)
        return;
    *busp = NULL;
    bool connected = bus_connected(bus);
    pthread_mutex_lock(&bus->lock);
    bus->stopping = true;
    pthread_cond_broadcast(&bus->changed);
    pthread_mutex_unlock(&bus->lock);
    pthread_join(bus->supervisor, NULL);
    if (bus->nc != NULL) {
        if (connected && natsConnection_DrainTimeout(bus->nc, CLOSE_MS) == NATS_OK)
            wait_closed(bus);
        natsConnection_Close(bus->nc);
        wait_closed(bus);
    }
    destroy_object(bus);
    pthread_mutex_lock(&bus->telling); /* the last callback has returned */
    pthread_mutex_unlock(&bus->telling);
    bus_subs_free(bus);
    free_bus(bus);
}

int bus_fail(natsStatus status, const char *subject, struct err *err)
{
    switch ((int)status) {
    case NATS_TIMEOUT:
        return err_set(err, "nats: %s: no answer in time", subject);
    case NATS_NO_RESPONDERS:
        return err_set(err, "nats: %s: nobody answers this subject", subject);
    default:
        return err_set(err, "nats: %s: %s", subject, natsStatus_GetText(status));
    }
}

static int check_send(struct bus *bus, const char *subject, size_t len, struct err *err)
{
    if (len > BUS_MAX_PAYLOAD)
        return err_set(err, "nats: %s: %zu bytes are more than a message may have", subject, len);
    if (!bus_connected(bus)) /* the library would keep it and send it late */
        return err_set(err, "nats: not connected");
    return 0;
}

int bus_publish_reply(struct bus *bus, const char *subject, const char *reply, const void *data,
                      size_t len, struct err *err)
{
    if (check_send(bus, subject, len, err) != 0)
        return -1;
    natsStatus s = NATS_CONNECTION_DISCONNECTED;
    pthread_rwlock_rdlock(&bus->nc_lock);
    if (bus->nc != NULL && reply != NULL)
        s = natsConnection_PublishRequest(bus->nc, subject, reply, data, (int)len);
    else if (bus->nc != NULL)
        s = natsConnection_Publish(bus->nc, subject, data, (int)len);
    pthread_rwlock_unlock(&bus->nc_lock);
    return s == NATS_OK ? 0 : bus_fail(s, subject, err);
}

int bus_publish(struct bus *bus, const char *subject, const void *data, size_t len, struct err *err)
{
    return bus_publish_reply(bus, subject, NULL, data, len, err);
}

static natsStatus send_request(struct bus *bus, natsMsg *request, int64_t timeout_ms,
                               natsMsg **reply)
{
    pthread_rwlock_rdlock(&bus->nc_lock);
    natsStatus s = bus->nc == NULL ? NATS_CONNECTION_DISCONNECTED
                                   : natsConnection_RequestMsg(reply, bus->nc, request, timeout_ms);
    pthread_rwlock_unlock(&bus->nc_lock);
    return s;
}

static char *copy_data(const natsMsg *msg, size_t *len)
{
    *len = (size_t)natsMsg_GetDataLength(msg);
    char *data = mem_alloc(*len + 1);
    if (*len > 0)
        memcpy(data, natsMsg_GetData(msg), *len);
    data[*len] = '\0';
    return data;
}

int bus_request_id(struct bus *bus, const char *subject, const char *id, const void *data,
                   size_t len, int64_t timeout_ms, char **reply, size_t *reply_len, struct err *err)
{
    if (check_send(bus, subject, len, err) != 0)
        return -1;
    natsMsg *request = NULL, *answer = NULL;
    natsStatus s = natsMsg_Create(&request, subject, NULL, data, (int)len);
    if (s == NATS_OK && id != NULL)
        s = natsMsgHeader_Set(request, "Nats-Msg-Id", id);
    if (s == NATS_OK)
        s = send_request(bus, request, timeout_ms, &answer);
    if (s == NATS_OK && natsMsg_IsNoResponders(answer))
        s = NATS_NO_RESPONDERS;
    if (s == NATS_OK)
        *reply = copy_data(answer, reply_len);
    natsMsg_Destroy(answer);
    natsMsg_Destroy(request);
    return s == NATS_OK ? 0 : bus_fail(s, subject, err);
}

int bus_request(struct bus *bus, const char *subject, const void *data, size_t len,
                int64_t timeout_ms, char **reply, size_t *reply_len, struct err *err)
{
    return bus_request_id(bus, subject, NULL, data, len, timeout_ms, reply, reply_len, err);
}
