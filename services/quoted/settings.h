/* quoted's configuration: the table, the structs it fills, and what follows from both. */
#ifndef QUOTED_SETTINGS_H
#define QUOTED_SETTINGS_H

#include "libcommon/bus.h"
#include "libcommon/eth/sign.h"
#include "libcommon/service.h"
#include "services/quoted/pricebook.h"

struct settings_http {
    const char *address;
    int64_t threads;
    struct config_list trusted_proxies; /* const char *, CIDR */
};

struct settings_store {
    const char *url; /* may hold a password */
    int64_t sessions;
};

struct settings_signer {
    const char *key;           /* 0x + 64 hex; empty: in key_file */
    const char *key_file;      /* path */
    const char *next_key_file; /* path; empty: none */
};

struct settings_chain {
    int64_t id;             /* 0: as the deployment says */
    const char *contract;   /* empty: as the deployment says */
    const char *deployment; /* path of what the deploy script wrote; empty: none */
    int64_t timeout_ms;     /* for the answer of payd */
};

struct settings_limits {
    int64_t subscriber_per_minute, subscriber_burst;
    int64_t client_per_minute, client_burst;
    int64_t kept, remembered, idempotent;
};

struct settings {
    struct service_config service;
    struct settings_http http;
    struct settings_store postgres;
    struct settings_store redis;
    struct bus_config nats;
    struct settings_chain chain;
    struct settings_signer signer;
    struct settings_limits limits;
    const char *pricebook; /* path */
    const char *public_url;
    int64_t ttl_ms;
};

extern const struct config_schema settings_schema;

/* `deployment` is the file's text, NULL where none is configured. -1: they contradict each other,
 * or something is missing. */
int settings_resolve(const struct settings_chain *chain, const char *deployment, size_t len,
                     struct pricebook_chain *out, struct err *err) MUST_USE;
/* The same with the file read. */
int settings_chain(const struct settings_chain *chain, struct pricebook_chain *out,
                   struct err *err) MUST_USE;
int settings_signer(const struct settings_signer *signer, struct sign_key **out,
                    struct err *err) MUST_USE;
/* The key that comes next; NULL where none is configured. */
int settings_next_signer(const struct settings_signer *signer, struct sign_key **out,
                         struct err *err) MUST_USE;

#endif
