/* subd's configuration: one table. */
#ifndef SUBD_SETTINGS_H
#define SUBD_SETTINGS_H

#include "libcommon/bus.h"
#include "libcommon/proto/quote.h"
#include "libcommon/service.h"

struct settings_http {
    const char *address;
    int64_t threads;
    struct config_list trusted_proxies; /* const char *, CIDR */
};

struct settings_postgres {
    const char *url;
    int64_t sessions;
};

struct settings_redis {
    const char *url;
};

struct settings_tokens {
    int64_t access_ms, refresh_ms, challenge_ms;
    struct config_list keys; /* const char *: PEM, or the path of a PEM file; the first one signs */
};

struct settings {
    struct service_config service;
    struct settings_http http;
    struct settings_postgres postgres;
    struct settings_redis redis;
    struct bus_config nats;
    const char *public_url; /* `iss` of tokens, and the domain and URI that wallets sign for */
    int64_t chain_id;       /* 0, and "": as the deployment file says */
    const char *contract, *deployment;
    struct settings_tokens tokens;
    int64_t lease_ms;
    int64_t retention_ms;
};

extern const struct config_schema settings_schema;

/* The chain and the contract whose subscriptions are honoured; reads the deployment file. */
int settings_domain(const struct settings *settings, struct quote_domain *out,
                    struct err *err) MUST_USE;

#define SETTINGS_AUTHORITY_MAX 256
/* The authority of a public URL, without a path: what Sign-In calls the domain. */
int settings_authority(const char *url, char out[SETTINGS_AUTHORITY_MAX], struct err *err) MUST_USE;

#endif
