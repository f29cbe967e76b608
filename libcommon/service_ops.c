/* Owns the ops listener: whether the service lives, whether it is ready and for lack of what, its
 * metrics, and its log level. The same file asks those questions for --health. */
#include "libcommon/service_run.h"

#include "libcommon/clock.h"
#include "libcommon/http_server_listen.h"

#include <dirent.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define STALLED_MS 30000
#define ASK_MS     2000

const struct config_schema service_ops_schema = {
    .name = "address, metrics_bearer_token",
    .size = sizeof(((struct service_config *)0)->ops),
    .scalar_field = "address",
    .fields =
        (const struct config_field[]){
            {.name = "address",
             .kind = CONFIG_STRING,
             .offset = offsetof(struct service_config, ops.address) -
                       offsetof(struct service_config, ops),
             .max = 255,
             .doc = "host:port of the operations listener; empty: none"},
            {.name = "metrics_bearer_token",
             .kind = CONFIG_STRING,
             .offset = offsetof(struct service_config, ops.metrics_bearer_token) -
                       offsetof(struct service_config, ops),
             .max = 1024,
             .secret = true,
             .doc =
                 "what /metrics and /loglevel ask for as `Authorization: Bearer`; empty: nothing"},
        },
    .count = 2,
};

static const char *const level_words[] = {"debug", "info", "warn", "error", NULL};

const struct config_schema service_log_schema = {
    .name = "level",
    .size = sizeof(((struct service_config *)0)->log),
    .fields =
        (const struct config_field[]){
            {.name = "level",
             .kind = CONFIG_ENUM,
             .offset = 0,
             .words = level_words,
             .fallback = "info",
             .doc = "lines below this level are not written; the variable OCTROI_LOG wins; "
                    "`PUT /loglevel` of the ops listener changes it while the service runs"},
        },
    .count = 1,
};

enum {
    BUILD_INFO,
    RELOADS,
    LAST_RELOAD,
    READY,
    DEPENDENCY_UP,
    LOG_DROPPED,
    RESIDENT,
    OPEN_FDS,
    MAX_FDS,
    STARTED,
    REGISTERED,
};

const struct metric_desc service_common_metrics[] = {
    [BUILD_INFO] = {.name = "octroi_build_info",
                    .kind = METRIC_GAUGE,
                    .help = "1, with the service's name and version",
                    .labels = {"service", "version"}},
    [RELOADS] = {.name = "octroi_config_reloads_total",
                 .kind = METRIC_COUNTER,
                 .help = "configurations read anew, by result (ok, refused)",
                 .labels = {"result"}},
    [LAST_RELOAD] = {.name = "octroi_config_last_reload_time_seconds",
                     .kind = METRIC_GAUGE,
                     .help = "Unix time at which the present configuration was taken over"},
    [READY] = {.name = "octroi_service_ready",
               .kind = METRIC_GAUGE,
               .help = "1 while /readyz answers 200"},
    [DEPENDENCY_UP] = {.name = "octroi_dependency_up",
                       .kind = METRIC_GAUGE,
                       .help = "1 while a thing that the service needs answers",
                       .labels = {"dependency"}},
    [LOG_DROPPED] = {.name = "octroi_log_dropped_lines_total",
                     .kind = METRIC_COUNTER,
                     .help = "log lines that nobody read fast enough"},
    [RESIDENT] = {.name = "process_resident_memory_bytes",
                  .kind = METRIC_GAUGE,
                  .help = "resident memory"},
    [OPEN_FDS] = {.name = "process_open_fds",
                  .kind = METRIC_GAUGE,
                  .help = "open file descriptors"},
    [MAX_FDS] = {.name = "process_max_fds",
                 .kind = METRIC_GAUGE,
                 .help = "file descriptors that may be open"},
    [STARTED] = {.name = "process_start_time_seconds",
                 .kind = METRIC_GAUGE,
                 .help = "Unix time of the start"},
    /* A fraction: written by put_cpu, not kept in a cell. */
    [REGISTERED] = {.name = "process_cpu_seconds_total",
                    .kind = METRIC_COUNTER,
                    .help = "user and system CPU time"},
};
const size_t service_common_metric_count = ARRAY_LEN(service_common_metrics);

/* What /readyz says of the whole. */
static const char *readiness(struct service *service, bool *ready)
{
    int phase = atomic_load(&service->phase);
    bool ok = true;

    for (size_t i = 0; i < service->dep_count; i++)
        ok = ok && (service->deps[i].ok || !service->deps[i].critical);
    *ready = phase == SERVICE_RUNNING && ok;
    if (phase == SERVICE_STARTING)
        return "starting";
    if (phase == SERVICE_DRAINING && service->upgrade.replaced) {
        *ready =
            true; /* asked on an old connection: who asks anew is answered by the new process */
        return "replaced";
    }
    if (phase == SERVICE_DRAINING)
        return "draining";
    return ok ? "ready" : "unavailable";
}

static json_t *dependencies(struct service *service)
{
    json_t *list = json_array();

    for (size_t i = 0; i < service->dep_count; i++) {
        const struct service_dep *dep = &service->deps[i];
        json_array_append_new(list,
                              json_pack("{s:s, s:b, s:b, s:s}", "name", dep->name, "ok", dep->ok,
                                        "critical", dep->critical, "detail", dep->detail));
    }
    return list;
}

static void readyz(struct http_request *request, void *ctx)
{
    struct service *service = ctx;
    const char *mode = atomic_load(&service->mode);
    bool ready;

    pthread_mutex_lock(&service->lock);
    json_t *body = json_pack("{s:s, s:o}", "status", readiness(service, &ready), "dependencies",
                             dependencies(service));
    pthread_mutex_unlock(&service->lock);
    if (mode != NULL)
        json_object_set_new(body, "mode", json_string(mode));
    http_reply_json(request, ready ? 200 : 503, body);
}

static void livez(struct http_request *request, void *ctx)
{
    struct service *service = ctx;
    int64_t age = clock_mono_ms(&clock_system) - atomic_load(&service->beat_ms);
    bool alive = !atomic_load(&service->stalled) &&
                 (atomic_load(&service->phase) != SERVICE_RUNNING || age < STALLED_MS);

    http_reply_json(request, alive ? 200 : 503,
                    json_pack("{s:s, s:s, s:s, s:i}", "status", alive ? "ok" : "stalled", "service",
                              service->desc->name, "version", OCTROI_VERSION, "pid",
                              (int)getpid()));
}

/* False: the service has no such check. */
static bool checked(struct http_request *request, struct service *service, const char *name)
{
    json_t *report = NULL;
    unsigned status = 0;

    if (service->desc->check == NULL)
        return false;
    pthread_rwlock_rdlock(&service->gate);
    if (service->open)
        status = service->desc->check(service, name, &report);
    pthread_rwlock_unlock(&service->gate);
    if (status != 0)
        http_reply_json(request, status, report);
    return status != 0;
}

static void healthz(struct http_request *request, void *ctx)
{
    const char *check = http_query(request, "check");

    if (check != NULL && checked(request, ctx, check))
        return;
    if (check != NULL)
        readyz(request, ctx);
    else
        livez(request, ctx);
}

static void digest(const char *text, unsigned char out[32])
{
    unsigned int len = 32;

    if (EVP_Digest(text, strlen(text), out, &len, EVP_sha256(), NULL) != 1)
        abort();
}

/* Compares digests: neither the length nor a prefix of the token shows in the time it takes. */
static bool authorized(struct http_request *request, struct service *service)
{
    unsigned char given[32];
    const char *token = http_bearer(request);

    digest(token != NULL ? token : "", given);
    pthread_mutex_lock(&service->lock);
    bool ok = !service->token_set ||
              (token != NULL && CRYPTO_memcmp(given, service->token_digest, sizeof(given)) == 0);
    pthread_mutex_unlock(&service->lock);
    if (!ok)
        http_reply_problem(request, PROBLEM_INVALID_KEY, "the bearer token is missing or wrong");
    return ok;
}

bool service_ops_enter(struct service *service, struct http_request *request)
{
    if (!authorized(request, service))
        return false;
    pthread_rwlock_rdlock(&service->gate);
    if (service->open)
        return true;
    pthread_rwlock_unlock(&service->gate);
    http_reply_json(request, 503, json_pack("{s:s}", "status", "not running"));
    return false;
}

void service_ops_leave(struct service *service)
{
    pthread_rwlock_unlock(&service->gate);
}

static int64_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int64_t count = 0;

    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count - 3; /* ".", ".." and the directory itself */
}

static int64_t most_fds(void)
{
    struct rlimit limit = {0};

    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur < INT64_MAX ? (int64_t)limit.rlim_cur : INT64_MAX;
}

static int64_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    char line[128] = "";

    if (file == NULL)
        return 0;
    if (fgets(line, sizeof(line), file) == NULL)
        line[0] = '\0';
    fclose(file);
    const char *second = strchr(line, ' ');
    return second != NULL ? strtoll(second, NULL, 10) * sysconf(_SC_PAGESIZE) : 0;
}

static void put_cpu(struct buf *out)
{
    struct rusage usage;
    const struct metric_desc *desc = &service_common_metrics[REGISTERED];

    getrusage(RUSAGE_SELF, &usage);
    double seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    buf_printf(out, "# HELP %s %s\n# TYPE %s counter\n%s %.6f\n", desc->name, desc->help,
               desc->name, desc->name, seconds);
}

static void refresh_common(struct service *service)
{
    struct metrics *common = service->common;
    struct metric_cell *dropped = metrics_cell(common, LOG_DROPPED, NULL);
    bool ready;

    pthread_mutex_lock(&service->lock);
    readiness(service, &ready);
    for (size_t i = 0; i < service->dep_count; i++) {
        const char *labels[] = {service->deps[i].name};
        metric_set(metrics_cell(common, DEPENDENCY_UP, labels), service->deps[i].ok ? 1 : 0);
    }
    pthread_mutex_unlock(&service->lock);
    metric_set(metrics_cell(common, READY, NULL), ready ? 1 : 0);
    metric_set(dropped, (int64_t)log_dropped());
    metric_set(metrics_cell(common, RESIDENT, NULL), resident_bytes());
    metric_set(metrics_cell(common, OPEN_FDS, NULL), count_fds());
    metric_set(metrics_cell(common, MAX_FDS, NULL), most_fds());
}

void service_ops_open(struct service *service, bool open)
{
    pthread_rwlock_wrlock(&service->gate);
    service->open = open;
    pthread_rwlock_unlock(&service->gate);
}

static void collect(struct service *service)
{
    if (service->desc->collect == NULL)
        return;
    pthread_rwlock_rdlock(&service->gate);
    if (service->open)
        service->desc->collect(service);
    pthread_rwlock_unlock(&service->gate);
}

static void metrics_get(struct http_request *request, void *ctx)
{
    struct service *service = ctx;
    AUTO_BUF struct buf out = {0};

    if (!authorized(request, service))
        return;
    refresh_common(service);
    collect(service);
    metrics_expose(service->metrics, &out);
    metrics_expose(service->common, &out);
    put_cpu(&out);
    http_reply_text(request, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.len);
}

static void loglevel_get(struct http_request *request, void *ctx)
{
    if (authorized(request, ctx))
        http_reply_json(request, 200, json_pack("{s:s}", "level", level_words[log_get_level()]));
}

static void loglevel_put(struct http_request *request, void *ctx)
{
    static const char *const fields[] = {"level", NULL};
    enum log_level level;

    if (!authorized(request, ctx))
        return;
    json_t *body = http_json_object(request);
    if (body == NULL || http_json_only(request, body, fields) != 0)
        return;
    const char *text = http_json_string(request, body, "level", 16);
    if (text == NULL)
        return;
    if (log_parse_level(text, &level) != 0) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD,
                           "level: must be debug, info, warn or error");
        return;
    }
    log_set_level(level);
    log_info("log level changed", LOG_STR(STATE, level_words[level]),
             LOG_STR(CLIENT, http_client(request)));
    http_reply_json(request, 200, json_pack("{s:s}", "level", level_words[level]));
}

static const struct http_route routes[] = {
    {"GET", "/livez", livez, HTTP_NO_STORE, 0},
    {"GET", "/readyz", readyz, HTTP_NO_STORE, 0},
    {"GET", "/healthz", healthz, HTTP_NO_STORE, 0},
    {"GET", "/metrics", metrics_get, HTTP_NO_STORE, 0},
    {"GET", "/loglevel", loglevel_get, HTTP_NO_STORE, 0},
    {"PUT", "/loglevel", loglevel_put, HTTP_NO_STORE, 1024},
};

void service_ops_token(struct service *service)
{
    const struct service_config *config = config_root(service->config);
    const char *token = config->ops.metrics_bearer_token;

    pthread_mutex_lock(&service->lock);
    service->token_set = token[0] != '\0';
    digest(token, service->token_digest);
    pthread_mutex_unlock(&service->lock);
}

/* With the port that was really taken, where the configuration leaves the choice (port 0). */
static void log_listener(const char *address, unsigned port)
{
    const char *colon = strrchr(address, ':');
    AUTO_FREE char *real = mem_printf("%.*s:%u", (int)(colon - address), address, port);

    log_info("operations listener", LOG_STR(ADDRESS, real));
}

static const struct http_route *all_routes(struct service *service)
{
    const struct service_desc *desc = service->desc;
    struct http_route *all = mem_array(ARRAY_LEN(routes) + desc->route_count, sizeof(*all));

    memcpy(all, routes, sizeof(routes));
    for (size_t i = 0; i < desc->route_count; i++)
        all[ARRAY_LEN(routes) + i] = desc->routes[i];
    service->ops_routes = all;
    return all;
}

bool service_ops_ready(struct service *service)
{
    bool ready;

    pthread_mutex_lock(&service->lock);
    readiness(service, &ready);
    pthread_mutex_unlock(&service->lock);
    return ready;
}

void service_ops_init(struct service *service)
{
    const char *build[] = {service->desc->name, OCTROI_VERSION};
    int64_t now = clock_wall_s(&clock_system);

    service->common = metrics_new(service_common_metrics, REGISTERED);
    metric_set(metrics_cell(service->common, BUILD_INFO, build), 1);
    metric_set(metrics_cell(service->common, STARTED, NULL), now);
    metric_set(metrics_cell(service->common, LAST_RELOAD, NULL), now);
}

void service_ops_reloaded(struct service *service, bool taken_over)
{
    metrics_count(service->common, RELOADS, taken_over ? "ok" : "refused", NULL);
    if (taken_over)
        metric_set(metrics_cell(service->common, LAST_RELOAD, NULL), clock_wall_s(&clock_system));
}

int service_ops_start(struct service *service, struct err *err)
{
    const struct service_config *config = config_root(service->config);
    AUTO_FREE char *name = mem_printf("ops %s", config->ops.address);
    const struct http_server_options options = {
        .address = config->ops.address,
        .listen_fd = service_inherited(service, name),
        .threads = 2,
        .max_connections = 128,
        .routes = all_routes(service),
        .route_count = ARRAY_LEN(routes) + service->desc->route_count,
        .ctx = service,
    };

    service_ops_token(service);
    if (config->ops.address[0] == '\0')
        return 0;
    if (http_server_start(&options, &service->ops, err) != 0)
        return err_wrap(err, "ops.address");
    log_listener(config->ops.address, http_server_port(service->ops));
    return 0;
}

/* Offered by its address: a configuration that names another opens another. */
void service_ops_offer(struct service *service)
{
    const struct service_config *config = config_root(service->config);
    AUTO_FREE char *name = mem_printf("ops %s", config->ops.address);

    if (service->ops == NULL)
        return;
    service_offer(service, name, http_server_fd(service->ops));
}

void service_ops_stop(struct service *service)
{
    http_server_stop(&service->ops);
    free(service->ops_routes);
    metrics_free(&service->common);
}

/* The status of an answer's first line; 0 where it is none. */
static int read_status(int fd)
{
    char line[64] = "";
    size_t len = 0;
    int status = 0;

    while (len < 16) {
        ssize_t n = recv(fd, line + len, sizeof(line) - 1 - len, 0);
        if (n <= 0)
            return 0;
        len += (size_t)n;
    }
    if (strncmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ')
        return 0;
    for (int i = 9; i < 12; i++)
        status = status * 10 + (line[i] - '0');
    return status;
}

int service_ops_ask(const char *address, struct err *err)
{
    static const char request[] =
        "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    int status = 0;
    int fd;

    if (address[0] == '\0')
        return err_set(err, "ops.address is empty: there is no listener to ask");
    if (http_server_connect(address, ASK_MS, &fd, err) != 0)
        return -1;
    if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) == sizeof(request) - 1)
        status = read_status(fd);
    close(fd);
    return status == 200 ? 0 : err_set(err, "/readyz of %.100s answered %d", address, status);
}
