/* payd's configuration: the table, the structs it fills, and what follows from both. */
#ifndef PAYD_SETTINGS_H
#define PAYD_SETTINGS_H

#include "libcommon/bus.h"
#include "libcommon/service.h"
#include "services/payd/chain.h"
#include "services/payd/ledger.h"

struct settings_http {
    const char *address;
    int64_t threads;
    struct config_list trusted_proxies; /* const char *, CIDR */
};

struct settings_postgres {
    const char *url; /* holds a password */
    int64_t sessions;
};

struct settings_token {
    const char *address;
    int64_t index;
};

enum settings_agreement { SETTINGS_ALL, SETTINGS_FIRST };

struct settings_chain {
    int64_t id;                /* 0: as the deployment says */
    const char *contract;      /* empty: as the deployment says */
    int64_t start_block;       /* -1: as the deployment says, else 0 */
    const char *deployment;    /* path of what the deploy script wrote; empty: none */
    struct config_list rpc;    /* struct rpc_endpoint */
    struct config_list tokens; /* struct settings_token; empty: the deployment's, else any */
    int64_t timeout_ms, connect_ms, backoff_min_ms, backoff_max_ms, max_response;
    int64_t poll_ms;
    int64_t stale_after_ms;
    int64_t confirmations;
    int64_t confirm_after_ms;
    int tag;       /* enum chain_tag */
    int agreement; /* enum settings_agreement */
    int64_t agreement_wait_ms;
    int64_t max_lag;
    int64_t head_every_ms;
    int64_t tail, range, batch, keep_blocks;
    int64_t second_look; /* blocks behind the cursor; 0: none */
};

struct settings_relay {
    int64_t retry_min_ms, retry_max_ms;
};

/* Without keystore and mnemonic_file there is no wallet. Fees in wei. */
struct settings_wallet {
    const char *keystore, *password_file;
    const char *mnemonic_file, *path;
    const char *user; /* the signer process becomes it; empty: stays */
    int64_t max_fee_per_gas, max_priority_fee_per_gas;
    int64_t gas_limit;
    int64_t max_spend_per_hour;  /* gwei */
    int64_t bump_after_ms, bump; /* percent */
    int64_t poll_ms;
};

struct settings_refunds {
    bool revoked;
};

struct settings_events {
    int64_t keep_ms, max_rows;
};

struct settings_receipts {
    const char *key_file; /* empty: no receipts */
};

struct settings {
    struct service_config service;
    struct settings_http http;
    struct settings_postgres postgres;
    struct bus_config nats;
    struct settings_chain chain;
    struct settings_relay relay;
    struct settings_events events;
    struct settings_receipts receipts;
    struct settings_wallet wallet;
    struct settings_refunds refunds;
};

extern const struct config_schema settings_schema;

/* What chain section and deployment file say together. */
struct settings_target {
    struct quote_domain domain;
    int64_t first;               /* the first block that can hold an event */
    struct ledger_token *tokens; /* owned */
    size_t token_count;
    bool has_receipt_signer;
    uint8_t receipt_signer[20]; /* who signs receipts, as the deployment file says */
};

/* `deployment` is the file's text, NULL where none is configured. -1: they contradict each other,
 * or something is missing. */
int settings_resolve(const struct settings_chain *chain, const char *deployment, size_t len,
                     struct settings_target *out, struct err *err) MUST_USE;
/* The same with the file read. */
int settings_target(const struct settings_chain *chain, struct settings_target *out,
                    struct err *err) MUST_USE;
void settings_target_clear(struct settings_target *target);

#endif
