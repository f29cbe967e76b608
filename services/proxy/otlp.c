/* Owns the way of spans to the collector: a ring, a thread that makes batches of them, libcurl. */
#include "services/proxy/otlp.h"

#include "libcommon/buf.h"
#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/log_line.h"
#include "libcommon/log_ring.h"
#include "libcommon/mem.h"
#include "services/proxy/exchange.h"
#include "services/proxy/otlp_span.h"

#include <curl/curl.h>
#include <string.h>
#include <time.h>

#define SLOTS       4096
#define BATCH       512
#define PAUSE_MS    200 /* spans are collected for so long */
#define FAREWELL_MS 1000
#define TIMEOUT_MS  10000
#define HEADERS_MAX 32

struct otlp {
    struct log_ring *ring;
    CURL *curl;
    struct curl_slist *headers;
    char *url, *preamble;
    double ratio;
    long timeout_ms;
    int64_t posted_ms; /* when the present transfer began */
    struct buf batch;
    unsigned count;
    bool failing;
    _Atomic uint64_t sent, failed;
};

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static size_t ignore_body(char *data, size_t size, size_t count, void *ctx)
{
    (void)data;
    (void)ctx;
    return size * count;
}

/* Non-zero ends the transfer: the process is about to. */
static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct otlp *otlp = ctx;
    (void)a, (void)b, (void)c, (void)d;
    return log_ring_pressed(otlp->ring) &&
           clock_mono_ms(&clock_system) - otlp->posted_ms > FAREWELL_MS;
}

static void tell(struct otlp *otlp, const char *why)
{
    if (why && !otlp->failing)
        log_warn("spans are lost: the collector does not take them", LOG_STR(ERROR, why));
    if (!why && otlp->failing)
        log_info("the collector takes spans again");
    otlp->failing = why != NULL;
}

static void post(struct otlp *otlp)
{
    long status = 0;
    if (otlp->count == 0)
        return;
    buf_puts(&otlp->batch, "]}]}]}");
    otlp->posted_ms = clock_mono_ms(&clock_system);
    curl_easy_setopt(otlp->curl, CURLOPT_POSTFIELDS, otlp->batch.data);
    curl_easy_setopt(otlp->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)otlp->batch.len);
    CURLcode code = curl_easy_perform(otlp->curl);
    curl_easy_getinfo(otlp->curl, CURLINFO_RESPONSE_CODE, &status);
    bool ok = code == CURLE_OK && status >= 200 && status < 300;
    AUTO_FREE char *why = mem_printf("%s, status %ld", curl_easy_strerror(code), status);
    tell(otlp, ok ? NULL : why);
    atomic_fetch_add_explicit(ok ? &otlp->sent : &otlp->failed, otlp->count, memory_order_relaxed);
    otlp->count = 0;
    buf_clear(&otlp->batch);
}

static void add_span(void *ctx, const char *data, size_t len)
{
    struct otlp *otlp = ctx;
    buf_puts(&otlp->batch, otlp->count == 0 ? otlp->preamble : ",");
    buf_add(&otlp->batch, data, len);
    if (++otlp->count == BATCH)
        post(otlp);
}

static void flush(void *ctx, uint64_t dropped)
{
    static const struct timespec step = {.tv_nsec = 10 * 1000000};
    struct otlp *otlp = ctx;
    if (dropped)
        log_warn("spans were dropped: they come faster than the collector takes them",
                 LOG_UINT(COUNT, dropped));
    bool any = otlp->count > 0;
    post(otlp);
    for (int i = 0; any && i < PAUSE_MS / 10 && !log_ring_pressed(otlp->ring); i++)
        nanosleep(&step, NULL);
}

static char *endpoint(void)
{
    const char *traces = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    const char *base = variable("OTEL_EXPORTER_OTLP_ENDPOINT");
    if (traces)
        return mem_strdup(traces);
    if (!base)
        return NULL;
    size_t len = strlen(base);
    return mem_printf("%s%sv1/traces", base, base[len - 1] == '/' ? "" : "/");
}

/* "name=value,name=value", values percent-encoded. */
static int add_headers(struct otlp *otlp, const char *list, struct err *err)
{
    AUTO_FREE char *copy = mem_strdup(list);
    char *rest = copy, *item;
    for (unsigned count = 0; (item = strsep(&rest, ",")) != NULL; count++) {
        char *value = strchr(item, '=');
        if (!value || value == item || count == HEADERS_MAX)
            return err_set(err, "OTEL_EXPORTER_OTLP_HEADERS is a list of name=value");
        *value++ = '\0';
        char *decoded = curl_easy_unescape(otlp->curl, value, 0, NULL);
        AUTO_FREE char *line = mem_printf("%s: %s", item + strspn(item, " "), decoded);
        curl_free(decoded);
        if (strpbrk(line, "\r\n"))
            return err_set(err, "OTEL_EXPORTER_OTLP_HEADERS holds a line end");
        otlp->headers = curl_slist_append(otlp->headers, line);
    }
    return 0;
}

static int read_ratio(struct otlp *otlp, struct err *err)
{
    const char *text = variable("OTEL_TRACES_SAMPLER_ARG");
    char *end = NULL;
    otlp->ratio = text ? strtod(text, &end) : 1;
    if (text && (*end || !(otlp->ratio >= 0 && otlp->ratio <= 1)))
        return err_set(err, "OTEL_TRACES_SAMPLER_ARG is a share from 0 to 1");
    text = variable("OTEL_EXPORTER_OTLP_TIMEOUT");
    otlp->timeout_ms = text ? strtol(text, &end, 10) : TIMEOUT_MS;
    if (text && (*end || otlp->timeout_ms < 1 || otlp->timeout_ms > 3600000))
        return err_set(err, "OTEL_EXPORTER_OTLP_TIMEOUT is a number of milliseconds");
    return 0;
}

/* What stands before the spans of a batch. */
static void make_preamble(struct otlp *otlp)
{
    const char *name = variable("OTEL_SERVICE_NAME");
    char text[512];
    struct log_line line = {.data = text, .room = sizeof(text)};
    name = name ? name : "octroi-proxy";
    log_line_string(&line, name, strlen(name));
    otlp->preamble =
        mem_printf("{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\","
                   "\"value\":{\"stringValue\":%.*s}},{\"key\":\"service.version\",\"value\":{"
                   "\"stringValue\":\"%s\"}}]},\"scopeSpans\":[{\"scope\":{\"name\":\"octroi\"},"
                   "\"spans\":[",
                   (int)line.len, text, OCTROI_VERSION);
}

static int set_up(struct otlp *otlp, struct err *err)
{
    const char *headers = variable("OTEL_EXPORTER_OTLP_TRACES_HEADERS");
    headers = headers ? headers : variable("OTEL_EXPORTER_OTLP_HEADERS");
    otlp->curl = curl_easy_init();
    if (!otlp->curl)
        return err_set(err, "libcurl cannot be used");
    otlp->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (read_ratio(otlp, err) || (headers && add_headers(otlp, headers, err)))
        return -1;
    make_preamble(otlp);
    curl_easy_setopt(otlp->curl, CURLOPT_URL, otlp->url);
    curl_easy_setopt(otlp->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(otlp->curl, CURLOPT_HTTPHEADER, otlp->headers);
    curl_easy_setopt(otlp->curl, CURLOPT_TIMEOUT_MS, otlp->timeout_ms);
    curl_easy_setopt(otlp->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(otlp->curl, CURLOPT_WRITEFUNCTION, ignore_body);
    curl_easy_setopt(otlp->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(otlp->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(otlp->curl, CURLOPT_XFERINFODATA, otlp);
    const struct log_ring_sink sink = {.line = add_span, .flush = flush, .ctx = otlp};
    otlp->ring = log_ring_new("otlp", SLOTS, &sink);
    return log_ring_start(otlp->ring, err);
}

int otlp_new(struct otlp **out, struct err *err)
{
    const char *disabled = variable("OTEL_SDK_DISABLED");
    char *url = disabled && strcasecmp(disabled, "true") == 0 ? NULL : endpoint();
    *out = NULL;
    if (!url)
        return 0;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    struct otlp *otlp = mem_zalloc(sizeof(*otlp));
    otlp->url = url;
    if (set_up(otlp, err) == 0) {
        *out = otlp;
        return 0;
    }
    otlp_free(&otlp);
    return -1;
}

void otlp_free(struct otlp **otlp)
{
    if (!*otlp)
        return;
    log_ring_free(&(*otlp)->ring);
    curl_easy_cleanup((*otlp)->curl);
    curl_slist_free_all((*otlp)->headers);
    buf_free(&(*otlp)->batch);
    free((*otlp)->preamble);
    free((*otlp)->url);
    free(*otlp);
    *otlp = NULL;
    curl_global_cleanup();
}

double otlp_ratio(const struct otlp *otlp)
{
    return otlp->ratio;
}

struct otlp_counts otlp_counts(const struct otlp *otlp)
{
    return (struct otlp_counts){
        .sent = atomic_load_explicit(&otlp->sent, memory_order_relaxed),
        .failed = atomic_load_explicit(&otlp->failed, memory_order_relaxed),
        .dropped = log_ring_dropped(otlp->ring),
    };
}

static void hand_over(struct otlp *otlp, const struct exchange *exchange,
                      size_t (*format)(const struct exchange *exchange, char *out, size_t size))
{
    struct log_slot *slot;
    if (log_ring_claim(otlp->ring, &slot) != LOG_RING_CLAIMED)
        return;
    slot->len = format(exchange, slot->data, LOG_LINE_MAX);
    log_ring_publish(otlp->ring, slot);
}

void otlp_record(const struct exchange *exchange)
{
    struct otlp *otlp = exchange->request.worker->priv->proxy->otlp;
    if (!otlp || !exchange->trace.spans || !exchange->trace.sampled)
        return;
    hand_over(otlp, exchange, otlp_span_server);
    if (exchange->attempts)
        hand_over(otlp, exchange, otlp_span_client);
}
