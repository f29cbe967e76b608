/* Owns the life of a service process: from its command line through configuration, start, signals
 * and drain to an ordered end. A service adds its callbacks; all of them run on the main thread. */
#include "libcommon/service_run.h"

#include "libcommon/clock.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define POLL_MS          1000
#define DRAIN_POLL_MS    50
#define DEFAULT_SHUTDOWN 30000

enum action { ACTION_RUN, ACTION_CHECK, ACTION_HEALTH };

struct arguments {
    const char *path; /* -c */
    enum action action;
};

static const char usage[] =
    "usage: %s [-c FILE] [-t | --health]\n"
    "%s\n\n"
    "  -c FILE            configuration; else $%s, else %s\n"
    "  -t                 check the configuration and exit\n"
    "  --health           ask the running service whether it is ready; exit 0 or 1\n"
    "  --document KIND    print a reference page: config, metrics, common-metrics, logs, problems\n"
    "  -V, --version      print the version\n"
    "  -h, --help         print this\n";

static const char *config_variable(const struct service_desc *desc)
{
    return desc->config_env != NULL ? desc->config_env : "OCTROI_CONFIG";
}

static int print_usage(const struct service_desc *desc, FILE *out, int status)
{
    fprintf(out, usage, desc->name, desc->summary, config_variable(desc), desc->default_config);
    return status;
}

static int print_document(const struct service_desc *desc, const char *kind)
{
    if (service_document(desc, kind) == 0)
        return 0;
    fprintf(stderr, "%s: there is no page %s\n", desc->name, kind);
    return 2;
}

/* -1: go on; else the exit status. */
static int parse_arguments(const struct service_desc *desc, int argc, char **argv,
                           struct arguments *out)
{
    static const struct option options[] = {
        {"health", no_argument, NULL, 'H'},       {"document", required_argument, NULL, 'D'},
        {"version", no_argument, NULL, 'V'},      {"help", no_argument, NULL, 'h'},
        {"config", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "c:tVh", options, NULL)) != -1) {
        if (option == 'c')
            out->path = optarg;
        else if (option == 't')
            out->action = ACTION_CHECK;
        else if (option == 'H')
            out->action = ACTION_HEALTH;
        else if (option == 'D')
            return print_document(desc, optarg);
        else if (option == 'V')
            return printf("%s %s\n", desc->name, OCTROI_VERSION) > 0 ? 0 : 1;
        else
            return print_usage(desc, option == 'h' ? stdout : stderr, option == 'h' ? 0 : 2);
    }
    return optind < argc ? print_usage(desc, stderr, 2) : -1;
}

/* NULL: there is no file, the environment is the configuration. */
static const char *path_of(const struct service_desc *desc, const char *path)
{
    const char *named = path != NULL ? path : getenv(config_variable(desc));
    bool given = named != NULL && named[0] != '\0';

    if (!given && desc->config_from_env != NULL && access(desc->default_config, F_OK) != 0)
        return NULL;
    return given ? named : desc->default_config;
}

static int load_config(const struct service_desc *desc, const char *path, struct config **out,
                       struct err *err)
{
    const char *file = path_of(desc, path);

    return file == NULL ? desc->config_from_env(out, err)
                        : config_load(file, desc->config, out, err);
}

static int log_level_of(struct config *config, enum log_level *level, struct err *err)
{
    const struct service_config *common = config_root(config);
    const char *override = getenv("OCTROI_LOG");

    *level = (enum log_level)common->log.level;
    if (override == NULL || override[0] == '\0' || log_parse_level(override, level) == 0)
        return 0;
    return err_set(err, "OCTROI_LOG must be debug, info, warn or error");
}

const void *service_configuration(struct service *service)
{
    return config_root(service->config);
}

struct config *service_config_share(struct service *service)
{
    return config_share(service->next != NULL ? service->next : service->config);
}

const char *service_config_path(const struct service *service)
{
    return path_of(service->desc, service->path);
}

void service_reload(struct service *service)
{
    service->reload_wanted = true;
}

void service_stalled(struct service *service, bool stalled)
{
    atomic_store(&service->stalled, stalled);
}

void service_mode(struct service *service, const char *mode)
{
    atomic_store(&service->mode, mode);
}

struct metrics *service_metrics(struct service *service)
{
    return service->metrics;
}

void service_set_state(struct service *service, void *state)
{
    service->state = state;
}

void *service_state(struct service *service)
{
    return service->state;
}

static void wake(struct service *service)
{
    const uint64_t one = 1;

    while (write(service->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void service_quit(struct service *service)
{
    atomic_store(&service->quit, true);
    wake(service);
}

static struct service_dep *find_dependency(struct service *service, const char *name)
{
    for (size_t i = 0; i < service->dep_count; i++)
        if (strcmp(service->deps[i].name, name) == 0)
            return &service->deps[i];
    if (service->dep_count == SERVICE_MAX_DEPENDENCIES)
        return NULL;
    struct service_dep *dep = &service->deps[service->dep_count++];
    snprintf(dep->name, sizeof(dep->name), "%s", name);
    return dep;
}

static void log_dependency(const char *name, bool ok, bool first, const char *detail)
{
    if (ok)
        log_info("dependency is there", LOG_STR(DEPENDENCY, name));
    else if (first)
        log_info("dependency is awaited", LOG_STR(DEPENDENCY, name), LOG_STR(REASON, detail));
    else
        log_warn("dependency is away", LOG_STR(DEPENDENCY, name), LOG_STR(REASON, detail));
}

void service_dependency(struct service *service, const char *name, bool critical, bool ok,
                        const char *detail)
{
    pthread_mutex_lock(&service->lock);
    size_t known = service->dep_count;
    struct service_dep *dep = find_dependency(service, name);
    bool first = service->dep_count > known;
    bool changed = dep != NULL && (first || dep->ok != ok);
    if (dep != NULL) {
        dep->critical = critical;
        dep->ok = ok;
        snprintf(dep->detail, sizeof(dep->detail), "%s", detail != NULL ? detail : "");
    }
    pthread_mutex_unlock(&service->lock);
    if (changed)
        log_dependency(name, ok, first, detail);
}

static int open_signals(struct service *service, struct err *err)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* inherited by every thread that starts later */
    service->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    service->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (service->signal_fd < 0 || service->wake_fd < 0)
        return err_set(err, "cannot watch for signals: %s", strerror(errno));
    return 0;
}

/* Waits for a signal, at most timeout_ms; 0: none. service_quit counts as SIGTERM. */
static int next_signal(struct service *service, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = service->signal_fd, .events = POLLIN},
                           {.fd = service->wake_fd, .events = POLLIN},
                           {.fd = service->upgrade.ready_fd, .events = POLLIN}};
    struct signalfd_siginfo info;
    uint64_t count;

    poll(fds, ARRAY_LEN(fds), timeout_ms);
    atomic_store(&service->beat_ms, clock_mono_ms(&clock_system));
    if (read(service->wake_fd, &count, sizeof(count)) > 0 && atomic_load(&service->quit))
        return SIGTERM;
    if (read(service->signal_fd, &info, sizeof(info)) != sizeof(info))
        return 0;
    return (int)info.ssi_signo;
}

/* The new configuration replaces the old, or only its log level where the service takes no other.
 */
static int apply_config(struct service *service, struct config **next, struct err *err)
{
    enum log_level level;

    if (log_level_of(*next, &level, err) != 0)
        return -1;
    if (service->desc->reload != NULL) {
        if (service->desc->reload(service, config_root(*next), err) != 0)
            return -1;
        config_free(&service->previous);
        service->previous = service->config;
        service->config = MEM_STEAL(*next);
        service_ops_token(service);
    }
    log_set_level(level);
    return 0;
}

static void reload(struct service *service)
{
    char state[80];
    struct err err = {{0}};
    int64_t began = clock_mono_ns(&clock_system);

    service->reload_wanted = false;
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
             (long long)(clock_mono_ns(&clock_system) / 1000));
    service_notify(state);
    int result = load_config(service->desc, service->path, &service->next, &err);
    if (result == 0)
        result = apply_config(service, &service->next, &err);
    if (result != 0)
        log_error("reload refused, the old configuration stays", LOG_STR(ERROR, err.msg));
    else
        log_info(service->desc->reload ? "configuration reloaded"
                                       : "log.level reloaded; other changes need a restart",
                 LOG_FLOAT(DURATION_MS, (double)(clock_mono_ns(&clock_system) - began) / 1e6));
    if (service->desc->reopen != NULL)
        service->desc->reopen(service);
    config_free(&service->next);
    service_ops_reloaded(service, result == 0);
    service_notify("READY=1");
}

static bool ends(int signal)
{
    return signal == SIGTERM || signal == SIGQUIT || signal == SIGINT;
}

/* Who asked this process for it meant the one that serves. It has read the file at its start,
 * perhaps before the change. */
static void forward_reload(const struct service *service, bool wanted)
{
    if (wanted && service->upgrade.replaced)
        kill(service->upgrade.pid, SIGHUP);
}

/* One turn of the main thread; false: it is over. */
static bool serve_once(struct service *service)
{
    int signal = next_signal(service, POLL_MS);
    bool reopens = signal == SIGUSR1 && service->desc->reopen != NULL;

    if (ends(signal))
        return false;
    if (signal == SIGHUP)
        service->reload_wanted = true;
    else if (reopens)
        service->desc->reopen(service);
    else if (signal == SIGUSR2 && service->desc->hand_over != NULL)
        service_upgrade_begin(service);
    else if (signal != 0)
        log_info("signal ignored", LOG_STR(SIGNAL, strsignal(signal)));
    if (service->desc->tick != NULL)
        service->desc->tick(service);
    switch (service_upgrade_check(service)) {
    case SERVICE_UPGRADE_NONE:
        if (service->reload_wanted)
            reload(service);
        break;
    case SERVICE_UPGRADE_WAITING:
        break;
    case SERVICE_UPGRADE_DONE:
        forward_reload(service, service->reload_wanted);
        return false;
    }
    return true;
}

static void serve(struct service *service)
{
    while (serve_once(service))
        ;
    service_upgrade_abandon(service);
}

/* Until `done` or the deadline; false: a second signal asks for the end at once. */
static bool wait_drained(struct service *service, bool (*done)(struct service *service),
                         int64_t limit_ms)
{
    int64_t deadline = clock_mono_ms(&clock_system) + limit_ms;

    while (done == NULL || !done(service)) {
        int64_t left = deadline - clock_mono_ms(&clock_system);
        if (left <= 0)
            break;
        int signal = next_signal(service, left < DRAIN_POLL_MS ? (int)left : DRAIN_POLL_MS);
        if (ends(signal))
            return false;
        forward_reload(service, signal == SIGHUP);
    }
    return true;
}

static void drain(struct service *service)
{
    const struct service_desc *desc = service->desc;
    const struct service_config *config = config_root(service->config);
    int64_t shutdown = config->shutdown_ms > 0 ? config->shutdown_ms : DEFAULT_SHUTDOWN;
    /* Who is replaced is not missed: nobody has to be told to look elsewhere. */
    int64_t delay = service->upgrade.replaced ? 0 : config->drain_delay_ms;

    atomic_store(&service->phase, SERVICE_DRAINING);
    if (service->upgrade.replaced)
        http_server_drain(service->ops);
    else
        service_notify("STOPPING=1");
    log_info("draining");
    bool patient = delay <= 0 || wait_drained(service, NULL, delay);
    if (desc->drain != NULL)
        desc->drain(service);
    if (!patient || desc->drained == NULL || !wait_drained(service, desc->drained, shutdown))
        return;
    if (!desc->drained(service))
        log_warn("the drain took too long; what is left is cut off",
                 LOG_INT(DURATION_MS, shutdown));
}

/* Waits for what the service needs, where another serves until then; false: it is to end. */
static bool await_ready(struct service *service)
{
    while (!service_ops_ready(service)) {
        int signal = next_signal(service, DRAIN_POLL_MS);
        if (ends(signal))
            return false;
        if (signal == SIGHUP)
            service->reload_wanted = true;
    }
    return true;
}

static bool takes_over(const struct service *service)
{
    return service->upgrade.tell_fd >= 0;
}

/* The ops listener of one that takes over is that of the process before, which answers there until
 * this one can. */
static int open_service(struct service *service, struct err *err)
{
    const struct service_desc *desc = service->desc;

    if (!takes_over(service) && service_ops_start(service, err) != 0)
        return -1;
    if (desc->start(service, err) != 0)
        return -1;
    atomic_store(&service->beat_ms, clock_mono_ms(&clock_system));
    service_ops_open(service, true);
    atomic_store(&service->phase, SERVICE_RUNNING);
    return 0;
}

static int begin_serving(struct service *service, struct err *err)
{
    if (takes_over(service) && service_ops_start(service, err) != 0)
        return -1;
    if (service->desc->accept != NULL)
        service->desc->accept(service);
    service_upgrade_tell(service);
    service_notify("READY=1");
    log_info("started", LOG_STR(NAME, service->desc->name), LOG_INT(PID, getpid()));
    return 0;
}

static int run(struct service *service, struct err *err)
{
    const struct service_desc *desc = service->desc;
    int result = open_service(service, err);

    if (result == 0 && (!takes_over(service) || await_ready(service))) {
        result = begin_serving(service, err);
        if (result == 0)
            serve(service);
        drain(service);
    }
    service_ops_open(service, false);
    if (desc->stop != NULL)
        desc->stop(service);
    return result;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void release(struct service *service)
{
    service_ops_stop(service);
    log_stop_writer();
    service_upgrade_clear(service);
    metrics_free(&service->metrics);
    config_free(&service->config);
    config_free(&service->previous);
    close_fd(service->wake_fd);
    close_fd(service->signal_fd);
    pthread_mutex_destroy(&service->lock);
    pthread_rwlock_destroy(&service->gate);
}

static int run_service(const struct service_desc *desc, const char *path, char **argv,
                       struct config *config, enum log_level level)
{
    struct service service = {
        .desc = desc, .config = config, .path = path, .wake_fd = -1, .signal_fd = -1};
    struct err err = {{0}};

    pthread_mutex_init(&service.lock, NULL);
    pthread_rwlock_init(&service.gate, NULL);
    service.metrics = metrics_new(desc->metrics, desc->metric_count);
    log_init(desc->name, level);
    service_upgrade_inherit(&service, argv);
    service_ops_init(&service);
    int result = open_signals(&service, &err);
    log_start_writer();
    if (result == 0)
        result = run(&service, &err);
    if (result == 0)
        log_info("stopped");
    else
        log_error("cannot start", LOG_STR(ERROR, err.msg));
    release(&service);
    return result == 0 ? 0 : 1;
}

static int health(struct config *config, struct err *err)
{
    const struct service_config *common = config_root(config);

    return service_ops_ask(common->ops.address, err);
}

int service_main(const struct service_desc *desc, int argc, char **argv)
{
    struct arguments arguments = {0};
    struct config *config = NULL;
    struct err err = {{0}};
    enum log_level level = LOG_LEVEL_INFO;

    int status = parse_arguments(desc, argc, argv, &arguments);
    if (status >= 0)
        return status;
    int result = load_config(desc, arguments.path, &config, &err);
    if (result == 0)
        result = log_level_of(config, &level, &err);
    if (result == 0 && arguments.action == ACTION_RUN)
        return run_service(desc, arguments.path, argv, config, level);
    if (result == 0 && arguments.action == ACTION_HEALTH)
        result = health(config, &err);
    if (result == 0 && arguments.action == ACTION_CHECK)
        printf("the configuration of %s is valid\n", desc->name);
    if (result != 0)
        fprintf(stderr, "%s: %s\n", desc->name, err.msg);
    config_free(&config);
    return result == 0 ? 0 : 1;
}
