/* The transport to one node: libcurl, one handle. Nothing of a URL but scheme, host and port leaves
 * this file, because keys stand in paths, queries and user parts; what repeats such a part can be
 * recognised here. */
#include "services/payd/endpoint.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define SECRET_MIN 6 /* a shorter part of a URL is no key, and could stand in any message */

struct endpoint {
    const struct rpc_options *options;
    const struct rpc_endpoint *config;
    char name[128];
    CURL *curl;
    struct curl_slist *headers;
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
    struct endpoint_reply *reply = ctx;
    buf_add(&reply->body, data, size * count);
    return reply->body.overflow ? 0 : size * count;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    const struct endpoint *endpoint = ctx;
    const atomic_bool *stop = endpoint->options->stop;
    return stop != NULL && atomic_load(stop) ? 1 : 0;
}

static void curl_start(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void curl_open(struct endpoint *endpoint)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, curl_start);
    CURL *curl = endpoint->curl = curl_easy_init();
    if (curl == NULL)
        abort();
    curl_easy_setopt(curl, CURLOPT_URL, endpoint->config->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, endpoint->headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)endpoint->config->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)endpoint->options->connect_ms);
    curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)endpoint->options->max_bytes);
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, NULL);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "octroi-payd/" OCTROI_VERSION);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, endpoint);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

struct endpoint *endpoint_new(const struct rpc_options *options, const struct rpc_endpoint *config)
{
    struct endpoint *endpoint = mem_zalloc(sizeof(*endpoint));
    endpoint->options = options;
    endpoint->config = config;
    endpoint->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (config->name != NULL && config->name[0] != '\0')
        snprintf(endpoint->name, sizeof(endpoint->name), "%.127s", config->name);
    else
        rpc_name(config->url, endpoint->name);
    curl_open(endpoint);
    return endpoint;
}

void endpoint_free(struct endpoint **endpoint_ptr)
{
    struct endpoint *endpoint = *endpoint_ptr;
    *endpoint_ptr = NULL;
    if (endpoint == NULL)
        return;
    curl_easy_cleanup(endpoint->curl);
    curl_slist_free_all(endpoint->headers);
    free(endpoint);
}

const char *endpoint_name(const struct endpoint *endpoint)
{
    return endpoint->name;
}

bool endpoint_tells_secret(const struct endpoint *endpoint, const char *text)
{
    const char *url = endpoint->config->url;
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

/* Some nodes put the status of their error on the HTTP answer too; the body tells. */
static bool speaks(long status)
{
    return status == 200 || status == 400 || status == 413 || status == 500;
}

static int status_check(const struct endpoint *endpoint, struct endpoint_reply *reply,
                        struct err *err)
{
    curl_off_t wait = 0;
    curl_easy_getinfo(endpoint->curl, CURLINFO_RESPONSE_CODE, &reply->status);
    curl_easy_getinfo(endpoint->curl, CURLINFO_RETRY_AFTER, &wait);
    if (wait > 0)
        reply->retry_after_ms = (wait > 3600 ? 3600 : (int64_t)wait) * 1000;
    if (!speaks(reply->status) || reply->body.len == 0)
        return err_set(err, "%s: HTTP status %ld", endpoint->name, reply->status);
    return 0;
}

int endpoint_post(struct endpoint *endpoint, const char *request, struct endpoint_reply *out,
                  enum rpc_fault *fault, struct err *err)
{
    *out = (struct endpoint_reply){.body = {.max = (size_t)endpoint->options->max_bytes}};
    *fault = RPC_AWAY;
    curl_easy_setopt(endpoint->curl, CURLOPT_POSTFIELDS, request);
    curl_easy_setopt(endpoint->curl, CURLOPT_POSTFIELDSIZE, (long)strlen(request));
    curl_easy_setopt(endpoint->curl, CURLOPT_WRITEDATA, out);
    CURLcode code = curl_easy_perform(endpoint->curl);
    if (out->body.overflow || code == CURLE_FILESIZE_EXCEEDED) {
        *fault = RPC_TOO_LARGE;
        return err_set(err, "%s: the answer is larger than %lld bytes", endpoint->name,
                       (long long)endpoint->options->max_bytes);
    }
    if (code != CURLE_OK)
        return err_set(err, "%s: %s", endpoint->name, curl_easy_strerror(code));
    if (status_check(endpoint, out, err) != 0)
        return -1;
    *fault = RPC_NONE;
    return 0;
}
