/* The rows of payd's configuration file, and the deployment file that may stand in for chain id,
 * contract, first block and tokens, so that a development stack needs no editing. */
#include "services/payd/settings.h"

#include "libcommon/eth/hex.h"
#include "libcommon/json.h"

#include <stdio.h>
#include <string.h>

#define DEPLOYMENT_MAX (64 * 1024)
#define TOKENS_MAX     127
#define TIMEOUT_MIN_MS 50

static const struct config_field http_fields[] = {
    CONFIG_FIELD(struct settings_http, address, "address", CONFIG_STRING,
                 .fallback = "127.0.0.1:8102", .doc = "host:port of the public API"),
    CONFIG_FIELD(struct settings_http, threads, "threads", CONFIG_INT, .fallback = "4", .min = 1,
                 .max = 64, .doc = "threads that answer requests"),
    CONFIG_FIELD(struct settings_http, trusted_proxies, "trusted_proxies", CONFIG_STRINGS,
                 .max = 1000,
                 .doc = "networks (CIDR) whose X-Forwarded-For names the client; empty: loopback "
                        "and private addresses"),
};
static const struct config_schema http_schema = {
    "http", sizeof(struct settings_http), http_fields, ARRAY_LEN(http_fields), NULL, "address"};

static const struct config_field postgres_fields[] = {
    CONFIG_FIELD(struct settings_postgres, url, "url", CONFIG_STRING, .required = true,
                 .secret = true, .doc = "connection URI of the role octroi_payd"),
    CONFIG_FIELD(struct settings_postgres, sessions, "sessions", CONFIG_INT, .fallback = "6",
                 .min = 2, .max = 100,
                 .doc = "sessions for answers and the relay; the leader has one more of its own"),
};
static const struct config_schema postgres_schema = {
    "postgres", sizeof(struct settings_postgres), postgres_fields, ARRAY_LEN(postgres_fields), NULL,
    "url"};

static const struct config_field rpc_fields[] = {
    CONFIG_FIELD(struct rpc_endpoint, url, "url", CONFIG_STRING, .required = true, .secret = true,
                 .doc = "http or https; keys in it are never logged"),
    CONFIG_FIELD(struct rpc_endpoint, name, "name", CONFIG_STRING, .fallback = "",
                 .doc = "name in logs and metrics; default: scheme, host and port of the URL"),
    CONFIG_FIELD(struct rpc_endpoint, timeout_ms, "timeout", CONFIG_DURATION, .fallback = "0s",
                 .min = 0, .max = 60000,
                 .doc = "longest wait for one answer, 50ms at least; 0s: as chain.timeout"),
};
static const struct config_schema rpc_schema = {
    "rpc", sizeof(struct rpc_endpoint), rpc_fields, ARRAY_LEN(rpc_fields), NULL, "url"};

static const struct config_field token_fields[] = {
    CONFIG_FIELD(struct settings_token, address, "address", CONFIG_STRING, .required = true,
                 .doc = "the token's contract"),
    CONFIG_FIELD(struct settings_token, index, "index", CONFIG_INT, .required = true, .min = 1,
                 .max = TOKENS_MAX, .doc = "its place in our contract's token table"),
};
static const struct config_schema token_schema = {
    "tokens", sizeof(struct settings_token), token_fields, ARRAY_LEN(token_fields), NULL, NULL};

static const char *const tag_words[] = {"latest", "safe", "finalized", NULL};

static const char *const agreement_words[] = {"all", "first", NULL};

static const struct config_field chain_fields[] = {
    CONFIG_FIELD(struct settings_chain, id, "id", CONFIG_INT, .fallback = "0", .min = 0,
                 .max = INT64_MAX, .doc = "EVM chain id; 0: as the deployment file says"),
    CONFIG_FIELD(struct settings_chain, contract, "contract", CONFIG_STRING, .fallback = "",
                 .doc = "address of the contract; empty: as the deployment file says"),
    CONFIG_FIELD(struct settings_chain, start_block, "start_block", CONFIG_INT, .fallback = "-1",
                 .min = -1, .max = INT64_MAX,
                 .doc = "first block to read, at or below the contract's deployment; -1: as the "
                        "deployment file says, else 0. Kept in the database from the first start"),
    CONFIG_FIELD(struct settings_chain, deployment, "deployment", CONFIG_STRING, .fallback = "",
                 .doc = "file that contracts/script/deploy.mjs wrote"),
    CONFIG_FIELD(struct settings_chain, rpc, "rpc", CONFIG_LIST, .required = true, .min = 1,
                 .max = 16, .section = &rpc_schema,
                 .doc =
                     "JSON-RPC endpoints in the order in which they are asked; one text may hold "
                     "several URLs, by commas"),
    CONFIG_FIELD(struct settings_chain, tokens, "tokens", CONFIG_LIST, .max = TOKENS_MAX,
                 .section = &token_schema,
                 .doc = "tokens that quotes may name; absent: the deployment file's, else any"),
    CONFIG_FIELD(struct settings_chain, timeout_ms, "timeout", CONFIG_DURATION, .fallback = "5s",
                 .min = TIMEOUT_MIN_MS, .max = 60000,
                 .doc = "longest wait for one answer of an endpoint"),
    CONFIG_FIELD(struct settings_chain, connect_ms, "connect", CONFIG_DURATION, .fallback = "2s",
                 .min = 50, .max = 60000, .doc = "longest wait for a connection to an endpoint"),
    CONFIG_FIELD(struct settings_chain, backoff_min_ms, "backoff_min", CONFIG_DURATION,
                 .fallback = "250ms", .min = 10, .max = 60000,
                 .doc = "pause before an endpoint that failed is asked again; doubles"),
    CONFIG_FIELD(struct settings_chain, backoff_max_ms, "backoff_max", CONFIG_DURATION,
                 .fallback = "5s", .min = 10, .max = 600000, .doc = "longest such pause"),
    CONFIG_FIELD(struct settings_chain, max_response, "max_response", CONFIG_SIZE,
                 .fallback = "8MiB", .min = 65536, .max = 268435456,
                 .doc = "largest answer of a node"),
    CONFIG_FIELD(struct settings_chain, poll_ms, "poll", CONFIG_DURATION, .fallback = "500ms",
                 .min = 20, .max = 60000, .doc = "how often the head is asked for"),
    CONFIG_FIELD(struct settings_chain, stale_after_ms, "stale_after", CONFIG_DURATION,
                 .fallback = "10s", .min = 500, .max = 3600000,
                 .doc = "without a successful poll for so long the chain counts as away"),
    CONFIG_FIELD(struct settings_chain, confirmations, "confirmations", CONFIG_INT, .fallback = "3",
                 .min = 0, .max = 1000000000,
                 .doc = "blocks that must follow a payment's own; 0: none"),
    CONFIG_FIELD(struct settings_chain, confirm_after_ms, "confirm_after", CONFIG_DURATION,
                 .fallback = "0s", .min = 0, .max = 604800000,
                 .doc = "a payment that was on the chain for so long is confirmed too, whatever "
                        "follows it (chains that mine on demand); 0s: never by time"),
    CONFIG_FIELD(struct settings_chain, tag, "tag", CONFIG_ENUM, .fallback = "latest",
                 .words = tag_words,
                 .doc = "only payments at or below the block of this tag are confirmed"),
    CONFIG_FIELD(struct settings_chain, agreement, "agreement", CONFIG_ENUM, .fallback = "all",
                 .words = agreement_words,
                 .doc = "all: a payment is confirmed only where every endpoint that is up has its "
                        "block with the same events, and nothing is while one says otherwise; "
                        "first: the endpoint that is followed decides alone"),
    CONFIG_FIELD(struct settings_chain, agreement_wait_ms, "agreement_wait", CONFIG_DURATION,
                 .fallback = "1m", .min = 100, .max = 86400000,
                 .doc = "an endpoint that does not have the block is waited for so long, and then "
                        "left out: from there on it contradicts nobody"),
    CONFIG_FIELD(struct settings_chain, max_lag, "max_lag", CONFIG_INT, .fallback = "16", .min = 1,
                 .max = 1000000,
                 .doc = "an endpoint more blocks behind the best head is followed only where all "
                        "others are away"),
    CONFIG_FIELD(struct settings_chain, head_every_ms, "head_every", CONFIG_DURATION,
                 .fallback = "5s", .min = 100, .max = 3600000,
                 .doc = "how often each endpoint is asked for its head"),
    CONFIG_FIELD(struct settings_chain, tail, "tail", CONFIG_INT, .fallback = "64", .min = 1,
                 .max = 4096, .doc = "newest blocks, which are read one by one"),
    CONFIG_FIELD(struct settings_chain, range, "range", CONFIG_INT, .fallback = "2000", .min = 1,
                 .max = 1000000, .doc = "most blocks in one eth_getLogs further down"),
    CONFIG_FIELD(struct settings_chain, batch, "batch", CONFIG_INT, .fallback = "16", .min = 1,
                 .max = 1024, .doc = "most blocks of the tail in one transaction"),
    CONFIG_FIELD(struct settings_chain, keep_blocks, "keep_blocks", CONFIG_INT, .fallback = "256",
                 .min = 1, .max = 1000000,
                 .doc = "newest block hashes kept; those with events are kept for ever"),
    CONFIG_FIELD(struct settings_chain, second_look, "second_look", CONFIG_INT, .fallback = "64",
                 .min = 0, .max = 1000000,
                 .doc = "blocks so far behind the newest are read a second time, by two endpoints "
                        "where there are several, and what was left out is added; 0: never"),
};
static const struct config_schema chain_schema = {
    "chain", sizeof(struct settings_chain), chain_fields, ARRAY_LEN(chain_fields), NULL, NULL};

static const struct config_field relay_fields[] = {
    CONFIG_FIELD(struct settings_relay, retry_min_ms, "retry_min", CONFIG_DURATION,
                 .fallback = "1s", .min = 20, .max = 600000,
                 .doc = "a hint that subd has not answered is repeated after this; doubles"),
    CONFIG_FIELD(struct settings_relay, retry_max_ms, "retry_max", CONFIG_DURATION,
                 .fallback = "1m", .min = 20, .max = 3600000, .doc = "longest such pause"),
};
static const struct config_schema relay_schema = {
    "relay", sizeof(struct settings_relay), relay_fields, ARRAY_LEN(relay_fields), NULL, NULL};

static const struct config_field wallet_fields[] = {
    CONFIG_FIELD(struct settings_wallet, keystore, "keystore", CONFIG_STRING, .fallback = "",
                 .doc = "the operator's key: a Web3 keystore file (version 3); without it and "
                        "mnemonic_file there is no wallet"),
    CONFIG_FIELD(struct settings_wallet, password_file, "password_file", CONFIG_STRING,
                 .fallback = "",
                 .doc = "file with the keystore's password, or with the mnemonic's passphrase "
                        "where it has one"),
    CONFIG_FIELD(struct settings_wallet, mnemonic_file, "mnemonic_file", CONFIG_STRING,
                 .fallback = "", .doc = "in place of a keystore: file with a BIP-39 mnemonic"),
    CONFIG_FIELD(struct settings_wallet, path, "path", CONFIG_STRING,
                 .fallback = "m/44'/60'/0'/0/0", .doc = "BIP-44 path of the mnemonic's key"),
    CONFIG_FIELD(
        struct settings_wallet, user, "user", CONFIG_STRING, .fallback = "",
        .doc = "where payd runs as root: the user (a name or uid:gid) that the signer process "
               "becomes; empty: nobody"),
    CONFIG_FIELD(struct settings_wallet, max_fee_per_gas, "max_fee_per_gas", CONFIG_INT,
                 .fallback = "200000000000", .min = 1, .max = 1000000000000000,
                 .doc = "most that a unit of gas may cost, in wei; above it the wallet waits"),
    CONFIG_FIELD(struct settings_wallet, max_priority_fee_per_gas, "max_priority_fee_per_gas",
                 CONFIG_INT, .fallback = "2000000000", .min = 1, .max = 1000000000000000,
                 .doc = "most of it that goes to the block's maker, in wei; a first transaction "
                        "offers half of it at most, so that it can be replaced; none at all would "
                        "make that impossible"),
    CONFIG_FIELD(struct settings_wallet, gas_limit, "gas_limit", CONFIG_INT, .fallback = "500000",
                 .min = 21000, .max = 30000000, .doc = "most gas of one transaction"),
    CONFIG_FIELD(struct settings_wallet, max_spend_per_hour, "max_spend_per_hour", CONFIG_INT,
                 .fallback = "1000000000", .min = 1, .max = 1000000000000000,
                 .doc = "most that is offered for gas within any hour, in gwei "
                        "(1e-9 of the coin), by the signer process's count and by payd's: gas "
                        "times price of each nonce's dearest transaction; "
                        "beyond it the wallet waits"),
    CONFIG_FIELD(struct settings_wallet, bump_after_ms, "bump_after", CONFIG_DURATION,
                 .fallback = "60s", .min = 200, .max = 86400000,
                 .doc = "a transaction that is not mined after so long is replaced by one that "
                        "offers more"),
    CONFIG_FIELD(struct settings_wallet, bump, "bump", CONFIG_PERCENT, .fallback = "15%",
                 .doc = "how much more; nodes refuse less than 10%"),
    CONFIG_FIELD(struct settings_wallet, poll_ms, "poll", CONFIG_DURATION, .fallback = "1s",
                 .min = 20, .max = 60000, .doc = "how often the wallet looks what is to be done"),
};
static const struct config_schema wallet_schema = {
    "wallet", sizeof(struct settings_wallet), wallet_fields, ARRAY_LEN(wallet_fields), NULL, NULL};

static const struct config_field events_fields[] = {
    CONFIG_FIELD(struct settings_events, keep_ms, "keep", CONFIG_DURATION, .fallback = "168h",
                 .min = 1000, .max = (int64_t)90 * 24 * 3600 * 1000,
                 .doc = "an event that could not be published for so long is dropped"),
    CONFIG_FIELD(struct settings_events, max_rows, "max_rows", CONFIG_INT, .fallback = "100000",
                 .min = 1, .max = 10000000,
                 .doc = "most events that wait to be published; the oldest are dropped"),
};
static const struct config_schema events_schema = {
    "events", sizeof(struct settings_events), events_fields, ARRAY_LEN(events_fields), NULL, NULL};

static const struct config_field receipts_fields[] = {
    CONFIG_FIELD(struct settings_receipts, key_file, "key_file", CONFIG_STRING, .fallback = "",
                 .doc = "file with the secp256k1 key that signs receipts, 0x and 64 hex digits; "
                        "its address is the contract's receipt signer; empty: no receipts"),
};
static const struct config_schema receipts_schema = {
    "receipts", sizeof(struct settings_receipts), receipts_fields, ARRAY_LEN(receipts_fields), NULL,
    NULL};

static const struct config_field refunds_fields[] = {
    CONFIG_FIELD(struct settings_refunds, revoked, "revoked", CONFIG_BOOL, .fallback = "true",
                 .doc = "a payment that came to a revoked subscription is sent back, and a "
                        "revocation by an operator is written to the chain, where there is a "
                        "wallet"),
};
static const struct config_schema refunds_schema = {"refunds",      sizeof(struct settings_refunds),
                                                    refunds_fields, ARRAY_LEN(refunds_fields),
                                                    NULL,           NULL};

static const struct config_field root_fields[] = {
    SERVICE_CONFIG_FIELDS(struct settings, service, "127.0.0.1:9482"),
    CONFIG_FIELD(struct settings, http, "http", CONFIG_SECTION, .section = &http_schema,
                 .doc = "public API"),
    CONFIG_FIELD(struct settings, postgres, "postgres", CONFIG_SECTION, .section = &postgres_schema,
                 .required = true, .doc = "the database `octroi`"),
    CONFIG_FIELD(struct settings, nats, "nats", CONFIG_SECTION, .section = &bus_config_schema,
                 .doc = "the bus"),
    CONFIG_FIELD(struct settings, chain, "chain", CONFIG_SECTION, .section = &chain_schema,
                 .required = true, .doc = "the chain and our contract on it"),
    CONFIG_FIELD(struct settings, relay, "relay", CONFIG_SECTION, .section = &relay_schema,
                 .doc = "telling subd"),
    CONFIG_FIELD(struct settings, events, "events", CONFIG_SECTION, .section = &events_schema,
                 .doc = "telling anyone"),
    CONFIG_FIELD(struct settings, receipts, "receipts", CONFIG_SECTION, .section = &receipts_schema,
                 .doc = "signed proofs of confirmed payments"),
    CONFIG_FIELD(struct settings, refunds, "refunds", CONFIG_SECTION, .section = &refunds_schema,
                 .doc = "what is sent back unasked"),
    CONFIG_FIELD(struct settings, wallet, "wallet", CONFIG_SECTION, .section = &wallet_schema,
                 .doc = "the operator's wallet: refunds, revocations and withdrawals on the chain"),
};

static int wallet_check(const struct settings_wallet *wallet, struct err *err)
{
    bool keystore = wallet->keystore[0] != '\0', mnemonic = wallet->mnemonic_file[0] != '\0';
    if (keystore && mnemonic)
        return err_set(err, "wallet: either keystore or mnemonic_file");
    if (keystore && wallet->password_file[0] == '\0')
        return err_set(err, "wallet.password_file: missing");
    if (wallet->bump < 10)
        return err_set(err, "wallet.bump: less than 10%%");
    if (wallet->max_priority_fee_per_gas > wallet->max_fee_per_gas)
        return err_set(err, "wallet.max_priority_fee_per_gas: above max_fee_per_gas");
    return 0;
}

static int endpoint_check(struct rpc_endpoint *endpoint, const struct settings_chain *chain,
                          struct err *err)
{
    if (strncmp(endpoint->url, "http://", 7) != 0 && strncmp(endpoint->url, "https://", 8) != 0)
        return err_set(err, "url: must begin with http:// or https://");
    if (endpoint->timeout_ms == 0)
        endpoint->timeout_ms = chain->timeout_ms;
    if (endpoint->timeout_ms < TIMEOUT_MIN_MS)
        return err_set(err, "timeout: less than %dms", TIMEOUT_MIN_MS);
    return 0;
}

static int check(void *section, struct err *err)
{
    struct settings_target target = {0};
    struct settings *settings = section;
    struct rpc_endpoint *endpoints = settings->chain.rpc.items;
    for (size_t i = 0; i < settings->chain.rpc.count; i++) {
        if (endpoint_check(&endpoints[i], &settings->chain, err) != 0)
            return err_wrap(err, "chain.rpc[%zu]", i);
    }
    int rc = settings_target(&settings->chain, &target, err);
    settings_target_clear(&target);
    return rc != 0 ? rc : wallet_check(&settings->wallet, err);
}

const struct config_schema settings_schema = {
    "payd", sizeof(struct settings), root_fields, ARRAY_LEN(root_fields), check, NULL};

void settings_target_clear(struct settings_target *target)
{
    free(target->tokens);
    *target = (struct settings_target){0};
}

static int token_set(struct ledger_token *out, const char *address, int64_t index, struct err *err)
{
    if (index < 1 || index > TOKENS_MAX)
        return err_set(err, "a token's index is not in 1..%d", TOKENS_MAX);
    out->index = (uint8_t)index;
    return hex_address(address, out->address, err);
}

static int tokens_configured(const struct settings_chain *chain, struct settings_target *out,
                             struct err *err)
{
    const struct settings_token *tokens = chain->tokens.items;
    out->tokens = mem_array(chain->tokens.count, sizeof(*out->tokens));
    for (; out->token_count < chain->tokens.count; out->token_count++) {
        const struct settings_token *token = &tokens[out->token_count];
        if (token_set(&out->tokens[out->token_count], token->address, token->index, err) != 0)
            return err_wrap(err, "chain.tokens[%zu]", out->token_count);
    }
    return 0;
}

static int tokens_deployed(const json_t *deployment, struct settings_target *out, struct err *err)
{
    const json_t *list = json_object_get(deployment, "tokens");
    size_t count = json_array_size(list);
    if (count > TOKENS_MAX)
        return err_set(err, "chain.deployment: more than %d tokens", TOKENS_MAX);
    out->tokens = mem_array(count, sizeof(*out->tokens));
    for (; out->token_count < count; out->token_count++) {
        const json_t *entry = json_array_get(list, out->token_count);
        const char *address;
        int64_t index;
        if (json_get_str(entry, "token", 42, &address, err) != 0 ||
            json_get_int(entry, "index", 1, TOKENS_MAX, &index, err) != 0 ||
            token_set(&out->tokens[out->token_count], address, index, err) != 0)
            return err_wrap(err, "chain.deployment: tokens[%zu]", out->token_count);
    }
    return 0;
}

static int deployed(const struct settings_chain *chain, const char *text, size_t len,
                    struct settings_target *out, struct err *err)
{
    AUTO_JSON json_t *json = NULL;
    int64_t id, block;
    const char *contract;
    if (json_parse(text, len, &json, err) != 0 ||
        json_get_int(json, "chain_id", 1, INT64_MAX, &id, err) != 0 ||
        json_get_int(json, "block", 0, INT64_MAX, &block, err) != 0 ||
        json_get_str(json, "contract", 42, &contract, err) != 0 ||
        hex_address(contract, out->domain.contract, err) != 0)
        return err_wrap(err, "chain.deployment: %s", chain->deployment);
    out->domain.chain_id = (uint64_t)id;
    out->first = block;
    const char *signer = json_string_value(json_object_get(json, "receipt_signer"));
    out->has_receipt_signer = signer != NULL;
    if (signer != NULL && hex_address(signer, out->receipt_signer, err) != 0)
        return err_wrap(err, "chain.deployment: receipt_signer");
    return chain->tokens.count > 0 ? 0 : tokens_deployed(json, out, err);
}

int settings_resolve(const struct settings_chain *chain, const char *deployment, size_t len,
                     struct settings_target *out, struct err *err)
{
    uint8_t contract[20];
    *out = (struct settings_target){0};
    if (deployment != NULL && deployed(chain, deployment, len, out, err) != 0)
        return -1;
    if (chain->id != 0 && deployment != NULL && out->domain.chain_id != (uint64_t)chain->id)
        return err_set(err, "chain.id: %lld, but the deployment file says %llu",
                       (long long)chain->id, (unsigned long long)out->domain.chain_id);
    if (chain->id != 0)
        out->domain.chain_id = (uint64_t)chain->id;
    if (out->domain.chain_id == 0)
        return err_set(err, "chain.id: missing, and there is no chain.deployment");
    if (chain->contract[0] != '\0') {
        if (hex_address(chain->contract, contract, err) != 0)
            return err_wrap(err, "chain.contract");
        if (deployment != NULL && memcmp(contract, out->domain.contract, 20) != 0)
            return err_set(err, "chain.contract: another one than in the deployment file");
        memcpy(out->domain.contract, contract, 20);
    } else if (deployment == NULL) {
        return err_set(err, "chain.contract: missing, and there is no chain.deployment");
    }
    if (chain->start_block >= 0)
        out->first = chain->start_block;
    return chain->tokens.count > 0 ? tokens_configured(chain, out, err) : 0;
}

int settings_target(const struct settings_chain *chain, struct settings_target *out,
                    struct err *err)
{
    if (chain->deployment[0] == '\0')
        return settings_resolve(chain, NULL, 0, out, err);
    AUTO_FREE char *text = mem_alloc(DEPLOYMENT_MAX);
    FILE *file = fopen(chain->deployment, "re");
    if (file == NULL)
        return err_set(err, "chain.deployment: %s: %m", chain->deployment);
    size_t len = fread(text, 1, DEPLOYMENT_MAX, file);
    fclose(file);
    if (len == DEPLOYMENT_MAX)
        return err_set(err, "chain.deployment: %s: too long", chain->deployment);
    return settings_resolve(chain, text, len, out, err);
}
