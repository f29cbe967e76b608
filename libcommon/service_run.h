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

struct service_socket {
    char *name;
    int fd;
};

/* USR2 (service_upgrade.c). */
struct service_upgrade {
    char *program; /* as it was started; the file may be another by now */
    char **argv;
    struct service_socket *inherited; /* fd -1: taken */
    size_t inherited_count;
    int tell_fd; /* to who started this process; -1: nobody waits */
    struct service_socket *offered;
    size_t offered_count;
    pid_t pid; /* of the new process while it starts; 0: none */
    int ready_fd;
    int64_t deadline_ms;
    bool replaced;
};

enum service_upgrade_state { SERVICE_UPGRADE_NONE, SERVICE_UPGRADE_WAITING, SERVICE_UPGRADE_DONE };

struct service {
    const struct service_desc *desc;
    struct config *config;
    struct config *previous; /* readers on other threads may still be in it: one reload long */
    struct config *next;     /* while it is being taken over */
    const char *path;        /* -c */
    struct service_upgrade upgrade;
    bool reload_wanted;
    struct metrics *metrics;
    struct metrics *common; /* service_ops.c's own table */
    void *state;
    struct http_server *ops;
    _Atomic int phase;
    _Atomic int64_t beat_ms; /* when the main thread last turned */
    _Atomic bool quit;
    _Atomic bool stalled;
    _Atomic(const char *) mode; /* NULL: none */
    int wake_fd;                /* eventfd: service_quit */
    int signal_fd;              /* signalfd */
    pthread_mutex_t lock;       /* deps, token_digest */
    pthread_rwlock_t gate;      /* of `open`: the callbacks of the ops threads are let in */
    bool open;
    struct http_route *ops_routes; /* ours and the service's */
    struct service_dep deps[SERVICE_MAX_DEPENDENCIES];
    size_t dep_count;
    bool token_set;
    unsigned char token_digest[32];
};

/* Lets the service's own callbacks of ops threads in, or waits until none is inside. */
void service_ops_open(struct service *service, bool open);
/* Before the listener: its metrics. */
void service_ops_init(struct service *service);
/* Whether /readyz answers 200. */
bool service_ops_ready(struct service *service);
void service_ops_reloaded(struct service *service, bool taken_over);
/* The ops listener; none where ops.address is empty. */
int service_ops_start(struct service *service, struct err *err) MUST_USE;
void service_ops_stop(struct service *service);
void service_ops_offer(struct service *service);
/* Takes the bearer token of the present configuration. */
void service_ops_token(struct service *service);
/* GET /readyz of an ops listener: 0 where it is ready. */
int service_ops_ask(const char *address, struct err *err) MUST_USE;

extern const struct metric_desc service_common_metrics[];
extern const size_t service_common_metric_count;

/* In a new process: the sockets that it was left, and who waits for it. */
void service_upgrade_inherit(struct service *service, char **argv);
/* The service is ready: tells who waits. What was not taken of its sockets is closed. */
void service_upgrade_tell(struct service *service);
/* USR2. */
void service_upgrade_begin(struct service *service);
/* Whether the new process is there; one that failed or is late is given up, and said why. */
enum service_upgrade_state service_upgrade_check(struct service *service);
void service_upgrade_abandon(struct service *service);
void service_upgrade_clear(struct service *service);

/* To the service manager that $NOTIFY_SOCKET names, if any (sd_notify(3)). */
void service_notify(const char *state);

/* A reference page on standard output; -1 for an unknown kind. */
int service_document(const struct service_desc *desc, const char *kind) MUST_USE;

#endif
