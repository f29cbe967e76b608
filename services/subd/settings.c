/* The table of subd's settings, the rules that a table cannot say, and the deployment file that may
 * stand in for chain id and contract. */
#include "services/subd/settings.h"

#include "libcommon/eth/hex.h"
#include "libcommon/json.h"

#include <stdio.h>
#include <string.h>

#define DEPLOYMENT_MAX (64 * 1024)

static const struct config_field http_fields[] = {
    CONFIG_FIELD(struct settings_http, address, "address", CONFIG_STRING,
                 .fallback = "127.0.0.1:8103", .doc = "where the public API listens"),
    CONFIG_FIELD(struct settings_http, threads, "threads", CONFIG_INT, .fallback = "8", .min = 1,
                 .max = 256, .doc = "requests that are worked on at once"),
    CONFIG_FIELD(struct settings_http, trusted_proxies, "trusted_proxies", CONFIG_STRINGS,
                 .max = 1000,
                 .doc = "networks (CIDR) whose X-Forwarded-For names the client; empty: loopback "
                        "and private addresses"),
};
static const struct config_schema http_schema = {.name = "http",
                                                 .size = sizeof(struct settings_http),
                                                 .fields = http_fields,
                                                 .count = ARRAY_LEN(http_fields)};

static const struct config_field postgres_fields[] = {
    CONFIG_FIELD(struct settings_postgres, url, "url", CONFIG_STRING, .required = true,
                 .secret = true, .doc = "PostgreSQL, as a URI or key=value pairs"),
    CONFIG_FIELD(struct settings_postgres, sessions, "sessions", CONFIG_INT, .fallback = "16",
                 .min = 8, .max = 200, .doc = "most sessions of this instance"),
};
static const struct config_schema postgres_schema = {.name = "postgres",
                                                     .size = sizeof(struct settings_postgres),
                                                     .fields = postgres_fields,
                                                     .count = ARRAY_LEN(postgres_fields),
                                                     .scalar_field = "url"};

static const struct config_field redis_fields[] = {
    CONFIG_FIELD(struct settings_redis, url, "url", CONFIG_STRING,
                 .fallback = "redis://127.0.0.1:6379", .secret = true, .doc = "Redis"),
};
static const struct config_schema redis_schema = {.name = "redis",
                                                  .size = sizeof(struct settings_redis),
                                                  .fields = redis_fields,
                                                  .count = ARRAY_LEN(redis_fields),
                                                  .scalar_field = "url"};

static const struct config_field token_fields[] = {
    CONFIG_FIELD(struct settings_tokens, keys, "keys", CONFIG_STRINGS, .required = true,
                 .secret = true, .min = 1, .max = 16,
                 .doc = "ES256 private keys: PEM text, or paths of PEM files; the first one signs, "
                        "all are published"),
    CONFIG_FIELD(struct settings_tokens, access_ms, "access", CONFIG_DURATION, .fallback = "5m",
                 .min = 10000, .max = 3600000, .doc = "life of an access token"),
    CONFIG_FIELD(struct settings_tokens, refresh_ms, "refresh", CONFIG_DURATION, .fallback = "30d",
                 .min = 60000, .max = 31536000000, .doc = "life of a refresh token"),
    CONFIG_FIELD(struct settings_tokens, challenge_ms, "challenge", CONFIG_DURATION,
                 .fallback = "5m", .min = 10000, .max = 3600000,
                 .doc = "time to sign a Sign-In challenge"),
};
static const struct config_schema token_schema = {.name = "tokens",
                                                  .size = sizeof(struct settings_tokens),
                                                  .fields = token_fields,
                                                  .count = ARRAY_LEN(token_fields)};

static const struct config_field fields[] = {
    SERVICE_CONFIG_FIELDS(struct settings, service, "127.0.0.1:9483"),
    CONFIG_FIELD(struct settings, http, "http", CONFIG_SECTION, .section = &http_schema,
                 .doc = "the public API"),
    CONFIG_FIELD(struct settings, postgres, "postgres", CONFIG_SECTION, .required = true,
                 .section = &postgres_schema, .doc = "PostgreSQL"),
    CONFIG_FIELD(struct settings, redis, "redis", CONFIG_SECTION, .section = &redis_schema,
                 .doc = "Redis"),
    CONFIG_FIELD(struct settings, nats, "nats", CONFIG_SECTION, .section = &bus_config_schema,
                 .doc = "NATS"),
    CONFIG_FIELD(struct settings, public_url, "public_url", CONFIG_STRING, .required = true,
                 .doc = "URL under which clients reach the API: issuer of tokens, and the domain "
                        "that wallets sign for"),
    CONFIG_FIELD(struct settings, chain_id, "chain_id", CONFIG_INT, .fallback = "0", .min = 0,
                 .max = INT64_MAX,
                 .doc = "EVM chain id that wallets sign for, and whose payments give access; 0: as "
                        "the deployment file says"),
    CONFIG_FIELD(struct settings, contract, "contract", CONFIG_STRING, .fallback = "",
                 .doc = "address of the contract whose payments give access; empty: as the "
                        "deployment file says"),
    CONFIG_FIELD(struct settings, deployment, "deployment", CONFIG_STRING, .fallback = "",
                 .doc = "JSON file that the deployment wrote, with chain id and contract"),
    CONFIG_FIELD(struct settings, tokens, "tokens", CONFIG_SECTION, .required = true,
                 .section = &token_schema, .doc = "access and refresh tokens"),
    CONFIG_FIELD(struct settings, lease_ms, "lease", CONFIG_DURATION, .fallback = "30m",
                 .min = 1000, .max = 86400000,
                 .doc =
                     "longest time a proxy may spend a lease: twice what the proxies' grace is, or "
                     "it is cut short by it"),
    CONFIG_FIELD(struct settings, retention_ms, "retention", CONFIG_DURATION, .fallback = "30d",
                 .min = 86400000, .max = 315360000000,
                 .doc = "how long applied batches and closed leases are kept; usage stays"),
};

int settings_authority(const char *url, char out[SETTINGS_AUTHORITY_MAX], struct err *err)
{
    const char *host = strncmp(url, "https://", 8) == 0  ? url + 8
                       : strncmp(url, "http://", 7) == 0 ? url + 7
                                                         : NULL;
    if (!host)
        return err_set(err, "public_url: it begins with http:// or https://");
    size_t len = strlen(host);
    if (len && host[len - 1] == '/')
        len--;
    if (len == 0 || len >= SETTINGS_AUTHORITY_MAX)
        return err_set(err, "public_url: it needs a host of fewer than %d characters",
                       SETTINGS_AUTHORITY_MAX);
    for (size_t i = 0; i < len; i++) {
        if (host[i] <= ' ' || host[i] >= 127 || strchr("/?#@\"<>\\", host[i]))
            return err_set(err, "public_url: only a host and a port may follow the scheme");
    }
    memcpy(out, host, len);
    out[len] = '\0';
    return 0;
}

static int deployed(const char *path, struct quote_domain *out, struct err *err)
{
    AUTO_FREE char *text = mem_alloc(DEPLOYMENT_MAX);
    AUTO_JSON json_t *json = NULL;
    const char *contract;
    int64_t id;
    FILE *file = fopen(path, "re");
    if (!file)
        return err_set(err, "deployment: %s: %m", path);
    size_t len = fread(text, 1, DEPLOYMENT_MAX, file);
    fclose(file);
    if (len == DEPLOYMENT_MAX)
        return err_set(err, "deployment: %s: too long", path);
    if (json_parse(text, len, &json, err) ||
        json_get_int(json, "chain_id", 1, INT64_MAX, &id, err) ||
        json_get_str(json, "contract", 42, &contract, err) ||
        hex_address(contract, out->contract, err))
        return err_wrap(err, "deployment: %s", path);
    out->chain_id = (uint64_t)id;
    return 0;
}

int settings_domain(const struct settings *settings, struct quote_domain *out, struct err *err)
{
    bool file = settings->deployment[0] != '\0';
    uint8_t contract[20];
    memset(out, 0, sizeof(*out));
    if (file && deployed(settings->deployment, out, err))
        return -1;
    if (!file && (settings->chain_id == 0 || settings->contract[0] == '\0'))
        return err_set(err, "chain_id and contract, or deployment: missing");
    if (file && settings->chain_id != 0 && (uint64_t)settings->chain_id != out->chain_id)
        return err_set(err, "chain_id: %lld, but the deployment file says %llu",
                       (long long)settings->chain_id, (unsigned long long)out->chain_id);
    if (settings->chain_id != 0)
        out->chain_id = (uint64_t)settings->chain_id;
    if (settings->contract[0] == '\0')
        return 0;
    if (hex_address(settings->contract, contract, err))
        return err_wrap(err, "contract");
    if (file && memcmp(contract, out->contract, 20) != 0)
        return err_set(err, "contract: another one than in the deployment file");
    memcpy(out->contract, contract, 20);
    return 0;
}

static int check(void *section, struct err *err)
{
    const struct settings *settings = section;
    char authority[SETTINGS_AUTHORITY_MAX];
    return settings_authority(settings->public_url, authority, err);
}

const struct config_schema settings_schema = {.name = "subd",
                                              .size = sizeof(struct settings),
                                              .fields = fields,
                                              .count = ARRAY_LEN(fields),
                                              .check = check};
