/* adminsvc's configuration. */
#ifndef ADMINSVC_SETTINGS_H
#define ADMINSVC_SETTINGS_H

#include "libcommon/bus.h"
#include "libcommon/service.h"

struct settings_http {
    const char *address;
    int64_t threads;
};

struct settings_postgres {
    const char *url; /* holds a password */
    int64_t sessions;
};

struct settings_bootstrap {
    const char *key;      /* empty: in key_file */
    const char *key_file; /* empty: none */
};

struct settings {
    struct service_config service;
    struct settings_http http;
    struct settings_postgres postgres;
    struct bus_config nats;
    struct settings_bootstrap bootstrap;
    int64_t failures_per_minute;
    int64_t timeout_ms; /* for the answer of another service */
};

extern const struct config_schema settings_schema;

/* The first owner's key as text, the caller's to wipe and free; *out is NULL where none is
 * configured. */
int settings_bootstrap_key(const struct settings_bootstrap *bootstrap, char **out,
                           struct err *err) MUST_USE;

#endif
