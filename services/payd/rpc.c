/* The transport to the nodes: libcurl, one handle and one kept connection for each endpoint,
 * answers bounded in size and time. Owns which endpoint is asked. Nothing of a URL but scheme, host
 * and port leaves this file, because keys stand in paths, queries and user parts; a node's own
 * words are withheld where they repeat such a part. */
#include "services/payd/rpc.h"

#include "libcommon/buf.h"
#include "libcommon/eth/abi.h"
#include "libcommon/log.h"
#include "services/payd/jsonrpc.h"

#include <curl/curl.h>
#include <pthread.h>
#include <string.h>

#define SECRET_MIN 6 /* a shorter part of a URL is no key, and could stand in any message */

struct endpoint {
    const struct rpc_endpoint *config;
    char name[128];
    CURL *curl;
    bool checked;         /* it named the right chain id since it last failed */
    bool was_away;        /* so that a change is logged once */
    int64_t failures;     /* in a row */
    int64_t asleep_until; /* monotonic ms */
};

struct rpc {
    struct rpc_options options;
    struct endpoint *endpoints;
    struct endpoint *last; /* that answered */
    struct curl_slist *headers;
    int64_t next_id;
};

struct reply {
    struct buf body;
    const atomic_bool *stop;
};

void rpc_name(const char *url, char out[128])
{
    const char *scheme_end = strstr(url, "://");
    const char *host = scheme_end == NULL ? url : scheme_end + 3;
    size_t authority = strcspn(host, "/?#");
    for (size_t i = authority; i > 0; i--) {
        if (host[i - 1] == '@') {
            host += i;
            authority -= i;
            break;
        }
    }
    int scheme = scheme_end == NULL ? 0 : (int)(scheme_end - url) + 3;
    snprintf(out, 128, "%.*s%.*s", scheme > 16 ? 0 : scheme, url,
             (int)(authority > 100 ? 100 : authority), host);
}

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct reply *reply = ctx;
    buf_add(&reply->body, data, size * count);
    return reply->body.overflow ? 0 : size * count;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    const struct reply *reply = ctx;
    return reply->stop != NULL && atomic_load(reply->stop) ? 1 : 0;
}

static void endpoint_open(struct rpc *rpc, struct endpoint *endpoint)
{
    CURL *curl = endpoint->curl = curl_easy_init();
    if (curl == NULL)
        abort();
    curl_easy_setopt(curl, CURLOPT_URL, endpoint->config->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, rpc->headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)endpoint->config->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)rpc->options.connect_ms);
    curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)rpc->options.max_bytes);
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, NULL);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "octroi-payd/" OCTROI_VERSION);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

static void curl_start(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct rpc *rpc_new(const struct rpc_options *options)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, curl_start);
    struct rpc *rpc = mem_zalloc(sizeof(*rpc));
    rpc->options = *options;
    rpc->headers = curl_slist_append(NULL, "Content-Type: application/json");
    rpc->endpoints = mem_array(options->count, sizeof(*rpc->endpoints));
    for (size_t i = 0; i < options->count; i++) {
        struct endpoint *endpoint = &rpc->endpoints[i];
        endpoint->config = &options->endpoints[i];
        if (endpoint->config->name != NULL && endpoint->config->name[0] != '\0')
            snprintf(endpoint->name, sizeof(endpoint->name), "%.127s", endpoint->config->name);
        else
            rpc_name(endpoint->config->url, endpoint->name);
        endpoint_open(rpc, endpoint);
    }
    return rpc;
}

void rpc_free(struct rpc **rpc_ptr)
{
    struct rpc *rpc = *rpc_ptr;
    *rpc_ptr = NULL;
    if (rpc == NULL)
        return;
    for (size_t i = 0; i < rpc->options.count; i++)
        curl_easy_cleanup(rpc->endpoints[i].curl);
    curl_slist_free_all(rpc->headers);
    free(rpc->endpoints);
    free(rpc);
}

/* Whether a text repeats a part of the URL that may be a key. */
static bool tells_secret(const char *url, const char *text)
{
    const char *scheme_end = strstr(url, "://");
    AUTO_FREE char *copy = mem_strdup(scheme_end == NULL ? url : scheme_end + 3);
    char *authority_end = copy + strcspn(copy, "/?#");
    char *at = memchr(copy, '@', (size_t)(authority_end - copy));
    char *save = NULL;
    /* The host is no secret. */
    if (at == NULL)
        memset(copy, '/', (size_t)(authority_end - copy));
    for (char *part = strtok_r(copy, "/?#&=:@", &save); part != NULL;
         part = strtok_r(NULL, "/?#&=:@", &save)) {
        if (strlen(part) >= SECRET_MIN && strstr(text, part) != NULL)
            return true;
    }
    return false;
}

static void endpoint_failed(struct rpc *rpc, struct endpoint *endpoint, const char *why)
{
    int64_t pause = rpc->options.backoff_min_ms;
    for (int64_t i = 0; i < endpoint->failures && pause < rpc->options.backoff_max_ms; i++)
        pause *= 2;
    if (pause > rpc->options.backoff_max_ms)
        pause = rpc->options.backoff_max_ms;
    endpoint->failures++;
    endpoint->checked = false;
    endpoint->asleep_until = clock_mono_ms(rpc->options.clock) + pause;
    if (!endpoint->was_away)
        log_warn("RPC endpoint failed", LOG_STR(ENDPOINT, endpoint->name), LOG_STR(ERROR, why));
    endpoint->was_away = true;
}

static int transfer(struct rpc *rpc, struct endpoint *endpoint, const char *request,
                    struct reply *reply, enum rpc_fault *fault, struct err *err)
{
    long status = 0;
    curl_easy_setopt(endpoint->curl, CURLOPT_POSTFIELDS, request);
    curl_easy_setopt(endpoint->curl, CURLOPT_POSTFIELDSIZE, (long)strlen(request));
    curl_easy_setopt(endpoint->curl, CURLOPT_WRITEDATA, reply);
    curl_easy_setopt(endpoint->curl, CURLOPT_XFERINFODATA, reply);
    CURLcode code = curl_easy_perform(endpoint->curl);
    if (reply->body.overflow || code == CURLE_FILESIZE_EXCEEDED) {
        *fault = RPC_TOO_LARGE;
        return err_set(err, "%s: the answer is larger than %lld bytes", endpoint->name,
                       (long long)rpc->options.max_bytes);
    }
    *fault = RPC_AWAY;
    if (code != CURLE_OK)
        return err_set(err, "%s: %s", endpoint->name, curl_easy_strerror(code));
    curl_easy_getinfo(endpoint->curl, CURLINFO_RESPONSE_CODE, &status);
    /* Some nodes put the status of their error on the HTTP answer too; the body tells. */
    bool speaks = status == 200 || status == 400 || status == 413 || status == 500;
    if (!speaks || reply->body.len == 0)
        return err_set(err, "%s: HTTP status %ld", endpoint->name, status);
    return 0;
}

/* -32005 (limit exceeded) is also how providers say "too often"; then another endpoint may serve.
 */
static int refusal(const struct endpoint *endpoint, const struct jsonrpc_answer *answer,
                   const char *method, enum rpc_fault *fault, struct err *err)
{
    *fault = RPC_REFUSED;
    const char *words = tells_secret(endpoint->config->url, answer->message)
                            ? "(the node's message is withheld: it repeats a part of the URL)"
                            : answer->message;
    return err_set(err, "%s: %s: error %lld: %s", endpoint->name, method, (long long)answer->code,
                   words);
}

static int ask_once(struct rpc *rpc, struct endpoint *endpoint, const char *method,
                    const json_t *params, json_t **result, enum rpc_fault *fault, struct err *err)
{
    int64_t id = ++rpc->next_id;
    AUTO_FREE char *request = jsonrpc_request(id, method, json_deep_copy(params));
    struct reply reply = {{.max = (size_t)rpc->options.max_bytes}, rpc->options.stop};
    AUTO_JSONRPC_ANSWER struct jsonrpc_answer answer = {0};
    int rc = transfer(rpc, endpoint, request, &reply, fault, err);
    if (rc == 0)
        rc = jsonrpc_answer_parse(reply.body.data, reply.body.len, id, &answer, err);
    buf_free(&reply.body);
    if (rc != 0)
        return rc;
    if (answer.failed)
        return refusal(endpoint, &answer, method, fault, err);
    *fault = RPC_NONE;
    *result = MEM_STEAL(answer.result);
    return 0;
}

static int ask(struct rpc *rpc, struct endpoint *endpoint, const char *method, const json_t *params,
               json_t **result, enum rpc_fault *fault, struct err *err)
{
    static const char *const words[] = {
        [RPC_NONE] = "ok",
        [RPC_AWAY] = "away",
        [RPC_REFUSED] = "refused",
        [RPC_TOO_LARGE] = "too-large",
    };
    int64_t start = clock_mono_ns(rpc->options.clock);
    int rc = ask_once(rpc, endpoint, method, params, result, fault, err);
    double seconds = (double)(clock_mono_ns(rpc->options.clock) - start) / 1e9;
    if (rpc->options.observe != NULL)
        rpc->options.observe(rpc->options.ctx, endpoint->name, method, words[*fault], seconds);
    return rc;
}

static int chain_id_check(struct rpc *rpc, struct endpoint *endpoint, struct err *err)
{
    AUTO_JSON json_t *params = json_array();
    AUTO_JSON json_t *result = NULL;
    enum rpc_fault fault = RPC_NONE;
    struct word word;
    uint64_t id;
    if (endpoint->checked)
        return 0;
    if (ask(rpc, endpoint, "eth_chainId", params, &result, &fault, err) != 0)
        return -1;
    const char *text = json_string_value(result);
    if (text == NULL || word_from_hex(text, &word) != 0 || word_to_u64(&word, &id) != 0)
        return err_set(err, "%s: eth_chainId: not a quantity", endpoint->name);
    if (id != rpc->options.chain_id)
        return err_set(err, "%s: chain id is %llu, configured is %llu", endpoint->name,
                       (unsigned long long)id, (unsigned long long)rpc->options.chain_id);
    endpoint->checked = true;
    if (endpoint->was_away || endpoint->failures == 0)
        log_info("RPC endpoint answers", LOG_STR(ENDPOINT, endpoint->name), LOG_UINT(CHAIN_ID, id));
    endpoint->was_away = false;
    return 0;
}

/* The endpoint answered, be it with a refusal, or failed as an endpoint. */
static bool answered(enum rpc_fault fault)
{
    return fault != RPC_AWAY;
}

int rpc_call(struct rpc *rpc, const char *method, json_t *params_stolen, json_t **result,
             enum rpc_fault *fault, struct err *err)
{
    AUTO_JSON json_t *params = params_stolen;
    *result = NULL;
    *fault = RPC_AWAY;
    bool asked = false;
    for (size_t i = 0; i < rpc->options.count; i++) {
        struct endpoint *endpoint = &rpc->endpoints[i];
        if (endpoint->asleep_until > clock_mono_ms(rpc->options.clock))
            continue;
        asked = true;
        *fault = RPC_AWAY;
        int rc = chain_id_check(rpc, endpoint, err);
        if (rc == 0)
            rc = ask(rpc, endpoint, method, params, result, fault, err);
        if (answered(*fault)) {
            endpoint->failures = 0;
            rpc->last = endpoint;
            return rc;
        }
        if (rpc->options.stop != NULL && atomic_load(rpc->options.stop))
            return err_set(err, "stopping");
        endpoint_failed(rpc, endpoint, err == NULL ? "" : err->msg);
    }
    if (!asked)
        return err_set(err, "no RPC endpoint is well; the next try comes by itself");
    return -1;
}

void rpc_distrust(struct rpc *rpc, const char *why)
{
    if (rpc->last != NULL)
        endpoint_failed(rpc, rpc->last, why);
    rpc->last = NULL;
}
