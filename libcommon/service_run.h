/* What the parts of the service skeleton share. For service*.c only. */
#ifndef LIBCOMMON_SERVICE_RUN_H
#define LIBCOMMON_SERVICE_RUN_H

#include "libcommon/http_server.h"
#include "libcommon/service.h"

#include <pthread.h>
#include <stdatomic.h>

#define SERVICE_MAX_DEPENDENCIES 16

enum service_phase { SERVICE_STARTING, SERVICE_RUNNING, SERVICE_DRAINING };

struct service_dep {
    char name[32];
    bool critical;
    bool ok;
    char detail[200];
};

struct service {
    const struct service_desc *desc;
    struct config *config;
    struct config *previous; /* readers on other threads may still be in it: one reload long */
    struct metrics *metrics;
    struct metrics *common; /* service_ops.c's own table */
    void *state;
    struct http_server *ops;
    _Atomic int phase;
    _Atomic int64_t beat_ms; /* when the main thread last turned */
    _Atomic bool quit;
    int wake_fd;           /* eventfd: service_quit */
    int signal_fd;         /* signalfd */
    pthread_mutex_t lock;  /* deps, token_digest */
    pthread_rwlock_t gate; /* of `open`: the callbacks of the ops threads are let in */
    bool open;
    struct http_route *ops_routes; /* ours and the service's */
    struct service_dep deps[SERVICE_MAX_DEPENDENCIES];
    size_t dep_count;
    bool token_set;
    unsigned char token_digest[32];
};

/* Lets the service's own callbacks of ops threads in, or waits until none is inside. */
void service_ops_open(struct service *service, bool open);
/* The ops listener; none where ops.address is empty. */
int service_ops_start(struct service *service, struct err *err) MUST_USE;
void service_ops_stop(struct service *service);
/* Takes the bearer token of the present configuration. */
void service_ops_token(struct service *service);
/* GET /readyz of an ops listener: 0 where it is ready. */
int service_ops_ask(const char *address, struct err *err) MUST_USE;

extern const struct metric_desc service_common_metrics[];
extern const size_t service_common_metric_count;

/* To the service manager that $NOTIFY_SOCKET names, if any (sd_notify(3)). */
void service_notify(const char *state);

/* A reference page on standard output; -1 for an unknown kind. */
int service_document(const struct service_desc *desc, const char *kind) MUST_USE;

#endif
