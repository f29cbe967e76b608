/* The process: what all workers share. Made by main.c before the workers run. */
#ifndef PROXY_PROXY_H
#define PROXY_PROXY_H

#include "services/proxy/file_watch.h"
#include "services/proxy/generation.h"
#include "services/proxy/sockets.h"

#include <stdatomic.h>

struct access_log;
struct otlp;
struct billing;
struct ip_rate;
struct ip_slots;
struct memory_guard;
struct registry;
struct worker;

struct proxy {
    struct service *service;
    struct generation *generation; /* the newest, for the main thread; reload.c */
    struct sockets sockets;
    struct file_watch watch;
    struct config *boot; /* the configuration of the start: billing keeps to it */
    struct registry *registry;
    struct worker **workers;
    size_t worker_count;
    struct billing *billing;
    struct resolver *resolver;
    struct watchdog *watchdog;
    struct access_log *access_log;
    struct otlp *otlp; /* NULL: no spans */
    struct health *health;
    struct ip_rate *ip_rate;
    struct ip_slots *ip_slots;
    struct memory_guard *memory;
    atomic_int_fast64_t connection_limit; /* limits.connections, or what descriptors allow */
    atomic_int_fast64_t connections;
    atomic_int_fast64_t in_flight;
    atomic_bool draining;
    int64_t started_ms; /* monotonic */
};

#endif
