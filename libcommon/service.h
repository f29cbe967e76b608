/* The one skeleton of every service: command line (-c FILE, -t check, -V version, --health,
 * --document KIND), configuration, logging, signals (TERM and QUIT drain, HUP reload, USR2 replace
 * the process by the binary that stands on disk, where the service offers it), the ops
 * listener (/livez /readyz /healthz /metrics, PUT /loglevel), readiness to systemd, and ordered
 * teardown. A service is a service_desc and its callbacks, all called on the main thread. */
#ifndef LIBCOMMON_SERVICE_H
#define LIBCOMMON_SERVICE_H

#include "libcommon/config.h"
#include "libcommon/http_server.h"
#include "libcommon/log.h"
#include "libcommon/metrics.h"

/* First member of every service's configuration struct. */
struct service_config {
    struct {
        const char *address; /* host:port; empty: no ops listener */
        const char *metrics_bearer_token;
    } ops;

    struct {
        int level; /* enum log_level */
    } log;

    int64_t drain_delay_ms; /* /readyz says 503 while requests are still accepted */
    int64_t upgrade_ms;     /* for a new binary to become ready; 0: 60 s */
    int64_t shutdown_ms;    /* how long a drain may take; 0: 30 s. A second TERM ends it at once */
};

extern const struct config_schema service_ops_schema;
extern const struct config_schema service_log_schema;

/* The rows of these members for a service's root table; `ops_address` is its default. */
#define SERVICE_CONFIG_FIELDS(type, member, ops_address)                                           \
    {.name = "ops",                                                                                \
     .kind = CONFIG_SECTION,                                                                       \
     .offset = offsetof(type, member.ops),                                                         \
     .section = &service_ops_schema,                                                               \
     .fallback = (ops_address),                                                                    \
     .doc = "operations listener: health and metrics"},                                            \
    {                                                                                              \
        .name = "log", .kind = CONFIG_SECTION, .offset = offsetof(type, member.log),               \
        .section = &service_log_schema, .doc = "logging"                                           \
    }

/* A variable that config_from_env reads: a row of the reference page. */
struct service_variable {
    const char *name;
    const char *kind;     /* what it may be */
    const char *fallback; /* NULL: required */
    const char *doc;
};

struct service;

struct service_desc {
    const char *name;
    const char *summary;        /* one line, for --help */
    const char *default_config; /* path used without -c */
    const char *config_env;     /* variable that names the file; NULL: OCTROI_CONFIG */
    const struct config_schema *config;
    const struct metric_desc *metrics;
    size_t metric_count;
    /* Without any file: make the configuration from the environment (proxy). NULL: a missing file
     * is an error. */
    int (*config_from_env)(struct config **out, struct err *err);
    const struct service_variable *variables; /* of it */
    size_t variable_count;
    /* Opens everything; dependencies that are away are waited for in the background, not here. */
    int (*start)(struct service *service, struct err *err);
    /* A new, valid configuration: take it over or refuse it whole (service_config still gives the
     * old one until this returns 0). The old one stays in memory until the next reload succeeds:
     * what other threads hold of it must be given up by then, or owned (service_config_share).
     * ops.address is read at the start only. NULL: HUP re-reads only log.level. */
    int (*reload)(struct service *service, const void *config, struct err *err);
    /* After HUP and on USR1: files that may have been moved away are opened again. NULL: none. */
    void (*reopen)(struct service *service);
    /* Added to the ops listener; ctx is the service. A handler begins with service_ops_enter. */
    const struct http_route *routes;
    size_t route_count;
    /* For /healthz?check=NAME, on an ops thread: 200 or 503 with a report, which it steals into
     * *report; 0: there is no such check, /readyz answers instead. NULL: there is none. */
    unsigned (*check)(struct service *service, const char *name, json_t **report);
    /* Before /metrics is written, on an ops thread, between start and stop: sets what is counted
     * elsewhere. NULL: nothing. */
    void (*collect)(struct service *service);
    /* What was opened begins to be used: after start; where the process replaces another, once it
     * is ready. NULL: start does it. */
    void (*accept)(struct service *service);
    /* At least once a second while it runs. */
    void (*tick)(struct service *service);
    /* USR2: names each listening socket by service_offer. NULL: USR2 is ignored. */
    void (*hand_over)(struct service *service);
    void (*drain)(
        struct service *service); /* stop accepting; returns at once. NULL: nothing to drain */
    bool (*drained)(
        struct service *service); /* asked every 50 ms until true or shutdown_ms is over */
    void (*stop)(
        struct service *service); /* release everything; called once, also after a failed start */
};

/* Runs the service until a signal ends it; the process's exit status. */
int service_main(const struct service_desc *desc, int argc, char **argv);

const void *service_configuration(struct service *service);
struct metrics *service_metrics(struct service *service);
/* One more owner of the configuration that is being taken over, or else of the present one: freed
 * by config_free. */
struct config *service_config_share(struct service *service);
/* The file that it was read from; NULL: from the environment. */
const char *service_config_path(const struct service *service);
/* As HUP does, soon. From tick. */
void service_reload(struct service *service);
void service_set_state(struct service *service, void *state);
void *service_state(struct service *service);

/* Any thread. Each named dependency shows in /readyz, which answers 503 while one that is
 * `critical` is not ok: report what is not there yet from start, or /readyz is early. A change is
 * logged once. At most 16. */
void service_dependency(struct service *service, const char *name, bool critical, bool ok,
                        const char *detail);
/* Any thread: what the service does at the moment, a word of static storage, as `mode` in /readyz.
 * Never set: there is none. */
void service_mode(struct service *service, const char *mode);
/* On an ops thread: checks the bearer token and that the service is between start and stop, where
 * it stays until service_ops_leave. False: answered already. */
bool service_ops_enter(struct service *service, struct http_request *request) MUST_USE;
void service_ops_leave(struct service *service);
/* Any thread: something does not move any more; /livez answers 503 meanwhile. */
void service_stalled(struct service *service, bool stalled);

/* A new process gets the listening sockets of the one that it replaces. From start and reload: the
 * next of them that was offered by this name, the caller's; -1: there is none, or none left. */
int service_inherited(struct service *service, const char *name);
/* From hand_over: the descriptor stays the caller's. */
void service_offer(struct service *service, const char *name, int fd);

/* Any thread: ends the process as TERM does. */
void service_quit(struct service *service);

#endif
