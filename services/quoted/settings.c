/* The rows of quoted's configuration file, and the deployment file that may stand in for chain id,
 * contract and token addresses, so that a development stack needs no editing. */
#include "services/quoted/settings.h"

#include "libcommon/cidr.h"
#include "libcommon/eth/hex.h"
#include "libcommon/json.h"
#include "libcommon/secret_file.h"
#include "services/quoted/keyring.h"

#include <stdio.h>
#include <string.h>

#define DEPLOYMENT_MAX (64 * 1024)
#define KEY_MAX        256

static const struct config_field http_fields[] = {
    CONFIG_FIELD(struct settings_http, address, "address", CONFIG_STRING,
                 .fallback = "127.0.0.1:8101", .doc = "host:port of the public API"),
    CONFIG_FIELD(struct settings_http, threads, "threads", CONFIG_INT, .fallback = "8", .min = 1,
                 .max = 64, .doc = "threads that answer requests"),
    CONFIG_FIELD(struct settings_http, trusted_proxies, "trusted_proxies", CONFIG_STRINGS,
                 .max = 1000,
                 .doc = "networks (CIDR) whose X-Forwarded-For names the client; empty: loopback "
                        "and private addresses"),
};
static const struct config_schema http_schema = {
    "http", sizeof(struct settings_http), http_fields, ARRAY_LEN(http_fields), NULL, "address"};

static const struct config_field postgres_fields[] = {
    CONFIG_FIELD(struct settings_store, url, "url", CONFIG_STRING, .required = true, .secret = true,
                 .doc = "connection URI of the role octroi_quoted"),
    CONFIG_FIELD(struct settings_store, sessions, "sessions", CONFIG_INT, .fallback = "1", .min = 1,
                 .max = 8, .doc = "sessions; they are used when a price book is loaded"),
};
static const struct config_schema postgres_schema = {
    "postgres", sizeof(struct settings_store), postgres_fields, ARRAY_LEN(postgres_fields), NULL,
    "url"};

static const struct config_field redis_fields[] = {
    CONFIG_FIELD(struct settings_store, url, "url", CONFIG_STRING,
                 .fallback = "redis://127.0.0.1:6379", .secret = true,
                 .doc = "redis://[user:password@]host:port[/db] or unix:///path"),
    CONFIG_FIELD(struct settings_store, sessions, "sessions", CONFIG_INT, .fallback = "8", .min = 1,
                 .max = 64, .doc = "connections"),
};
static const struct config_schema redis_schema = {
    "redis", sizeof(struct settings_store), redis_fields, ARRAY_LEN(redis_fields), NULL, "url"};

static const struct config_field chain_fields[] = {
    CONFIG_FIELD(struct settings_chain, id, "id", CONFIG_INT, .fallback = "0", .min = 0,
                 .max = INT64_MAX, .doc = "EVM chain id; 0: as the deployment file says"),
    CONFIG_FIELD(struct settings_chain, contract, "contract", CONFIG_STRING, .fallback = "",
                 .doc = "address of the contract; empty: as the deployment file says"),
    CONFIG_FIELD(struct settings_chain, deployment, "deployment", CONFIG_STRING, .fallback = "",
                 .doc = "file that contracts/script/deploy.mjs wrote"),
    CONFIG_FIELD(struct settings_chain, timeout_ms, "timeout", CONFIG_DURATION, .fallback = "1s",
                 .min = 10, .max = 30000, .doc = "longest wait for what payd says of a slot"),
};
static const struct config_schema chain_schema = {
    "chain", sizeof(struct settings_chain), chain_fields, ARRAY_LEN(chain_fields), NULL, NULL};

static const struct config_field signer_fields[] = {
    CONFIG_FIELD(struct settings_signer, key, "key", CONFIG_STRING, .fallback = "", .secret = true,
                 .doc = "secp256k1 private key, 0x and 64 hex digits; as a rule ${file:...}"),
    CONFIG_FIELD(struct settings_signer, key_file, "key_file", CONFIG_STRING, .fallback = "",
                 .doc = "file that holds it, where `key` is empty"),
    CONFIG_FIELD(struct settings_signer, next_key_file, "next_key_file", CONFIG_STRING,
                 .fallback = "",
                 .doc = "file with the key that comes next: it signs as soon as the contract names "
                        "it as its signer; empty: none"),
};
static const struct config_schema signer_schema = {
    "signer", sizeof(struct settings_signer), signer_fields, ARRAY_LEN(signer_fields), NULL, "key"};

static const struct config_field limits_fields[] = {
    CONFIG_FIELD(struct settings_limits, subscriber_per_minute, "subscriber_per_minute", CONFIG_INT,
                 .fallback = "10", .min = 1, .max = 60000,
                 .doc = "quotes for one subscriber's address that one client may ask for"),
    CONFIG_FIELD(struct settings_limits, subscriber_burst, "subscriber_burst", CONFIG_INT,
                 .fallback = "10", .min = 1, .max = 60000, .doc = "of them at once"),
    CONFIG_FIELD(struct settings_limits, client_per_minute, "client_per_minute", CONFIG_INT,
                 .fallback = "600", .min = 1, .max = 6000000,
                 .doc = "quotes that one client (IPv4 address, IPv6 /64) may ask for"),
    CONFIG_FIELD(struct settings_limits, client_burst, "client_burst", CONFIG_INT,
                 .fallback = "200", .min = 1, .max = 6000000, .doc = "of them at once"),
    CONFIG_FIELD(struct settings_limits, kept, "kept", CONFIG_INT, .fallback = "200000", .min = 1,
                 .max = 100000000,
                 .doc = "quotes of this instance that Redis holds at a time, whoever asked"),
    CONFIG_FIELD(struct settings_limits, remembered, "remembered", CONFIG_INT,
                 .fallback = "1000000", .min = 0, .max = 1000000000,
                 .doc = "expired quotes of this instance that are remembered as such for a day; "
                        "what is more is answered as unknown"),
    CONFIG_FIELD(struct settings_limits, idempotent, "idempotent", CONFIG_INT, .fallback = "100000",
                 .min = 0, .max = 1000000000,
                 .doc = "requests with an Idempotency-Key that this instance takes within a day: "
                        "their answers are kept for as long"),
};
static const struct config_schema limits_schema = {
    "limits", sizeof(struct settings_limits), limits_fields, ARRAY_LEN(limits_fields), NULL, NULL};

static const struct config_field root_fields[] = {
    SERVICE_CONFIG_FIELDS(struct settings, service, "127.0.0.1:9481"),
    CONFIG_FIELD(struct settings, http, "http", CONFIG_SECTION, .section = &http_schema,
                 .doc = "public API"),
    CONFIG_FIELD(struct settings, postgres, "postgres", CONFIG_SECTION, .section = &postgres_schema,
                 .required = true,
                 .doc = "the database `octroi`: plans and the price book's history"),
    CONFIG_FIELD(struct settings, redis, "redis", CONFIG_SECTION, .section = &redis_schema,
                 .doc = "quotes under way and their rate"),
    CONFIG_FIELD(struct settings, nats, "nats", CONFIG_SECTION, .section = &bus_config_schema,
                 .doc = "the bus"),
    CONFIG_FIELD(struct settings, chain, "chain", CONFIG_SECTION, .section = &chain_schema,
                 .doc = "the chain and our contract on it"),
    CONFIG_FIELD(struct settings, signer, "signer", CONFIG_SECTION, .section = &signer_schema,
                 .doc = "the key that signs quotes; its address is the contract's quote signer"),
    CONFIG_FIELD(struct settings, limits, "limits", CONFIG_SECTION, .section = &limits_schema,
                 .doc = "how often quotes may be asked for"),
    CONFIG_FIELD(struct settings, pricebook, "pricebook", CONFIG_STRING, .required = true, .min = 1,
                 .doc = "path of the price book; HUP reads it again"),
    CONFIG_FIELD(struct settings, public_url, "public_url", CONFIG_STRING,
                 .fallback = "http://127.0.0.1:8080", .max = 200,
                 .doc = "URL under which clients reach the API"),
    CONFIG_FIELD(struct settings, ttl_ms, "ttl", CONFIG_DURATION, .fallback = "5m", .min = 60000,
                 .max = 3600000,
                 .doc = "quotes are payable for this long at least and twice as long at most; "
                        "whole minutes"),
};

static int check_url(const char *url, struct err *err)
{
    const char *host = strncmp(url, "https://", 8) == 0  ? url + 8
                       : strncmp(url, "http://", 7) == 0 ? url + 7
                                                         : NULL;
    if (host == NULL || host[0] == '\0' || host[strlen(host) - 1] == '/')
        return err_set(err, "public_url: must be http:// or https:// and a host, without a slash "
                            "at the end");
    for (const char *at = host; *at != '\0'; at++)
        if (*at <= ' ' || *at >= 127 || strchr("\"\\<>?#@", *at) != NULL)
            return err_set(err, "public_url: holds a character that is not allowed");
    return 0;
}

static int check_networks(const struct config_list *texts, struct err *err)
{
    struct cidr_list list;
    if (cidr_list_new(texts, &list, err) != 0)
        return err_wrap(err, "http");
    cidr_list_free(&list);
    return 0;
}

static int check(void *section, struct err *err)
{
    const struct settings *settings = section;
    struct pricebook_chain chain;
    struct pricebook *book = NULL;
    struct keyring *keys = NULL;
    if (settings->ttl_ms % 60000 != 0)
        return err_set(err, "ttl: must be whole minutes");
    if (check_url(settings->public_url, err) != 0 ||
        check_networks(&settings->http.trusted_proxies, err) != 0 ||
        settings_chain(&settings->chain, &chain, err) != 0 ||
        keyring_load(&settings->signer, &keys, err) != 0)
        return -1;
    keyring_free(&keys);
    if (pricebook_load(settings->pricebook, &chain, &book, err) != 0)
        return -1;
    pricebook_unref(&book);
    return 0;
}

const struct config_schema settings_schema = {
    "quoted", sizeof(struct settings), root_fields, ARRAY_LEN(root_fields), check, NULL};

static int tokens_deployed(const json_t *deployment, struct pricebook_chain *out, struct err *err)
{
    const json_t *list;
    if (json_get_array(deployment, "tokens", PRICEBOOK_TOKENS_MAX, &list, err) != 0)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const char *address;
        int64_t index;
        if (json_get_str(entry, "token", 42, &address, err) != 0 ||
            json_get_int(entry, "index", 1, PRICEBOOK_TOKENS_MAX, &index, err) != 0 ||
            hex_address(address, out->tokens[index], err) != 0)
            return err_wrap(err, "tokens[%zu]", i);
    }
    return 0;
}

static int deployed(const struct settings_chain *chain, const char *text, size_t len,
                    struct pricebook_chain *out, struct err *err)
{
    AUTO_JSON json_t *json = NULL;
    int64_t id;
    const char *contract, *signer;
    uint8_t address[20];
    if (json_parse(text, len, &json, err) != 0 ||
        json_get_int(json, "chain_id", 1, INT64_MAX, &id, err) != 0 ||
        json_get_str(json, "contract", 42, &contract, err) != 0 ||
        hex_address(contract, out->domain.contract, err) != 0 ||
        tokens_deployed(json, out, err) != 0)
        return err_wrap(err, "chain.deployment: %s", chain->deployment);
    signer = json_string_value(json_object_get(json, "receipt_signer"));
    if (signer != NULL && hex_address(signer, address, err) != 0)
        return err_wrap(err, "chain.deployment: receipt_signer");
    if (signer != NULL)
        hex_address_format(address, out->receipt_signer);
    out->domain.chain_id = (uint64_t)id;
    return 0;
}

static int resolve_contract(const struct settings_chain *chain, bool have_deployment,
                            struct pricebook_chain *out, struct err *err)
{
    uint8_t contract[20];
    if (chain->contract[0] == '\0')
        return have_deployment
                   ? 0
                   : err_set(err, "chain.contract: missing, and there is no chain.deployment");
    if (hex_address(chain->contract, contract, err) != 0)
        return err_wrap(err, "chain.contract");
    if (have_deployment && memcmp(contract, out->domain.contract, 20) != 0)
        return err_set(err, "chain.contract: another one than in the deployment file");
    memcpy(out->domain.contract, contract, 20);
    return 0;
}

int settings_resolve(const struct settings_chain *chain, const char *deployment, size_t len,
                     struct pricebook_chain *out, struct err *err)
{
    *out = (struct pricebook_chain){0};
    if (deployment != NULL && deployed(chain, deployment, len, out, err) != 0)
        return -1;
    if (chain->id != 0 && deployment != NULL && out->domain.chain_id != (uint64_t)chain->id)
        return err_set(err, "chain.id: %lld, but the deployment file says %llu",
                       (long long)chain->id, (unsigned long long)out->domain.chain_id);
    if (chain->id != 0)
        out->domain.chain_id = (uint64_t)chain->id;
    if (out->domain.chain_id == 0)
        return err_set(err, "chain.id: missing, and there is no chain.deployment");
    return resolve_contract(chain, deployment != NULL, out, err);
}

/* `shown` is the path as errors may name it. */
static int read_file(const char *what, const char *path, const char *shown, char *out, size_t max,
                     size_t *len, struct err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return err_set(err, "%s: %s: %m", what, shown);
    /* No copy of a key in stdio's buffer, which nobody wipes. */
    setbuf(file, NULL);
    *len = fread(out, 1, max, file);
    fclose(file);
    if (*len == max)
        return err_set(err, "%s: %s: too long", what, shown);
    out[*len] = '\0';
    return 0;
}

int settings_chain(const struct settings_chain *chain, struct pricebook_chain *out, struct err *err)
{
    AUTO_FREE char *text = mem_alloc(DEPLOYMENT_MAX);
    size_t len;
    if (chain->deployment[0] == '\0')
        return settings_resolve(chain, NULL, 0, out, err);
    const char *path = chain->deployment;
    if (read_file("chain.deployment", path, path, text, DEPLOYMENT_MAX, &len, err) != 0)
        return -1;
    return settings_resolve(chain, text, len, out, err);
}

static int read_key(const char *what, const char *path, struct sign_key **out, struct err *err)
{
    char text[KEY_MAX];
    size_t len;
    int rc = read_file(what, path, secret_file_name(path), text, sizeof(text), &len, err);
    if (rc == 0 && sign_key_from_hex(text, out, err) != 0)
        rc = err_wrap(err, "%s", what);
    mem_wipe(text, sizeof(text));
    return rc;
}

int settings_signer(const struct settings_signer *signer, struct sign_key **out, struct err *err)
{
    if (signer->key[0] != '\0')
        return sign_key_from_hex(signer->key, out, err) == 0 ? 0 : err_wrap(err, "signer.key");
    if (signer->key_file[0] == '\0')
        return err_set(err, "signer: needs key or key_file");
    return read_key("signer.key_file", signer->key_file, out, err);
}

int settings_next_signer(const struct settings_signer *signer, struct sign_key **out,
                         struct err *err)
{
    *out = NULL;
    if (signer->next_key_file[0] == '\0')
        return 0;
    return read_key("signer.next_key_file", signer->next_key_file, out, err);
}
