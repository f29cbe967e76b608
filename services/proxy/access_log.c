/* Owns which requests are logged and where the lines go: standard error shares the ring of the
 * service's own lines, a file has one of its own. */
#include "services/proxy/access_log.h"

#include "libcommon/log.h"
#include "libcommon/log_file.h"
#include "libcommon/log_ring.h"
#include "libcommon/mem.h"
#include "services/proxy/access_line.h"
#include "services/proxy/exchange.h"

#include <errno.h>
#include <string.h>

#define SLOTS 4096

struct access_log {
    _Atomic(struct log_ring *) ring; /* where lines go: of the service's log, or `own` */
    struct log_ring *own;            /* NULL: no file was configured yet */
    _Atomic(struct log_file *) next; /* takes the place of `file`; for the writer to find */
    _Atomic uint64_t lost;
    struct log_file *file; /* the writer's */
    bool failing, added;
    char *path;
};

/* Nothing waits in the old file. */
static void take_next(struct access_log *log)
{
    struct log_file *next = atomic_exchange(&log->next, NULL);
    if (!next)
        return;
    log_file_close(&log->file);
    log->file = next;
}

static void add_line(void *ctx, const char *data, size_t len)
{
    struct access_log *log = ctx;
    if (!log->added)
        take_next(log);
    log->added = true;
    log_file_add(log->file, data, len);
}

static void tell(struct access_log *log, bool failed)
{
    if (failed && !log->failing)
        log_error("the access log cannot be written: its lines are dropped",
                  LOG_STR(ERROR, strerror(errno)));
    if (!failed && log->failing)
        log_info("the access log is written again",
                 LOG_UINT(COUNT, atomic_load_explicit(&log->lost, memory_order_relaxed)));
    log->failing = failed;
}

static void flush(void *ctx, uint64_t dropped)
{
    struct access_log *log = ctx;
    uint64_t before = log_file_lost(log->file);
    bool failed = log_file_flush(log->file) != 0;
    atomic_fetch_add_explicit(&log->lost, log_file_lost(log->file) - before, memory_order_relaxed);
    if (failed || log->added)
        tell(log, failed);
    log->added = false;
    if (dropped)
        log_warn("access log lines were dropped: they come faster than they are written",
                 LOG_UINT(COUNT, dropped));
    take_next(log);
}

static int start_ring(struct access_log *log, struct log_file *file, struct err *err)
{
    const struct log_ring_sink sink = {.line = add_line, .flush = flush, .ctx = log};
    log->file = file;
    log->own = log_ring_new("access-log", SLOTS, &sink);
    log_file_patience(file, log->own);
    return log_ring_start(log->own, err);
}

static int use_file(struct access_log *log, const char *path, struct err *err)
{
    struct log_file *file;
    if (log_file_open(path, &file, err))
        return err_wrap(err, "access_log.path");
    if (!log->own)
        return start_ring(log, file, err);
    log_file_patience(file, log->own);
    file = atomic_exchange(&log->next, file);
    log_file_close(&file);
    log_ring_wake(log->own);
    return 0;
}

int access_log_reload(struct access_log *log, const struct access_log_config *config,
                      struct err *err)
{
    bool to_file = strcmp(config->path, "-") != 0;
    if (log->path && strcmp(log->path, config->path) == 0)
        return 0;
    if (to_file && use_file(log, config->path, err))
        return -1;
    atomic_store(&log->ring, to_file ? log->own : log_lines());
    free(log->path);
    log->path = mem_strdup(config->path);
    return 0;
}

int access_log_new(const struct access_log_config *config, struct access_log **out, struct err *err)
{
    *out = mem_zalloc(sizeof(**out));
    if (access_log_reload(*out, config, err) == 0)
        return 0;
    access_log_free(out);
    return -1;
}

void access_log_free(struct access_log **log)
{
    if (!*log)
        return;
    log_ring_free(&(*log)->own);
    struct log_file *next = atomic_exchange(&(*log)->next, NULL);
    log_file_close(&next);
    log_file_close(&(*log)->file);
    free((*log)->path);
    free(*log);
    *log = NULL;
}

void access_log_reopen(struct access_log *log)
{
    if (!log->own)
        return;
    struct err err;
    if (strcmp(log->path, "-") != 0 && use_file(log, log->path, &err))
        log_error("the access log cannot be opened again: the old file stays in use",
                  LOG_STR(ERROR, err.msg));
}

uint64_t access_log_dropped(const struct access_log *log)
{
    return log->own ? log_ring_dropped(log->own) : 0;
}

uint64_t access_log_lost(const struct access_log *log)
{
    return atomic_load_explicit(&log->lost, memory_order_relaxed);
}

static bool chosen(struct worker *worker, const struct access_log_config *config, bool failed)
{
    if (config->sample <= 0)
        return false;
    if (config->sample >= 1 || failed)
        return true;
    return (double)(worker_random(worker) >> 11) * 0x1p-53 < config->sample;
}

static const char *protocol(const struct exchange *exchange)
{
    if (exchange->tunnel)
        return "websocket";
    if (exchange->http2)
        return "HTTP/2";
    return exchange->head.minor ? "HTTP/1.1" : "HTTP/1.0";
}

static h2o_iovec_t client_text(const struct exchange *exchange, char *text)
{
    if (memcmp(&exchange->client, &exchange->peer->address, sizeof(exchange->client)) == 0)
        return h2o_iovec_init(exchange->peer->text, exchange->peer->text_len);
    return h2o_iovec_init(text, address_text(&exchange->client, text));
}

static struct access_line line_of(const struct exchange *exchange, char *client)
{
    const struct request *request = &exchange->request;
    const struct route *route = request->route;
    return (struct access_line){
        .client = client_text(exchange, client),
        .method = exchange->method,
        .host = exchange->host,
        .path = exchange->path,
        .request_id = exchange->id_text,
        .trace_id = exchange->trace.known ? exchange->trace.id : NULL,
        .protocol = protocol(exchange),
        .tls = exchange->peer->tls_version,
        .problem = request->problem ? problem_get(request->problem)->name : NULL,
        .route = route ? route->name : NULL,
        .pool = route && route->pool ? route->pool->name : NULL,
        .backend = exchange->backend ? exchange->backend->authority.base : NULL,
        .status = exchange->status,
        .attempts = exchange->attempts,
        .bytes_in = request->meter.bytes_in,
        .bytes_out = request->meter.bytes_out,
        .total_ns = request->worker->now_ns - exchange->start_ns,
        .connect_ns = exchange->connect_ns,
        .head_ns = exchange->head_ns,
        .aborted = exchange->gone,
    };
}

static size_t format(struct worker *worker, const struct access_log_config *config,
                     const struct access_line *line, char *out)
{
    struct access_clock *clock = &worker->priv->access_clock;
    access_clock_set(clock, worker->wall_ms);
    switch ((enum access_log_format)config->format) {
    case ACCESS_LOG_JSON:
        return access_line_json(line, clock, out, LOG_LINE_MAX);
    case ACCESS_LOG_COMBINED:
        return access_line_combined(line, clock, out, LOG_LINE_MAX);
    }
    return 0;
}

/* NULL: the line is not wanted, or there is no place for it. */
static struct log_slot *claim(struct worker *worker, struct log_ring **ring)
{
    struct access_log *log = worker->priv->proxy->access_log;
    struct log_slot *slot;
    *ring = atomic_load_explicit(&log->ring, memory_order_acquire);
    if (*ring != log->own && log_get_level() > LOG_LEVEL_INFO)
        return NULL;
    return log_ring_claim(*ring, &slot) == LOG_RING_CLAIMED ? slot : NULL;
}

void access_log_tunnel(struct worker *worker, const struct access_log_config *config,
                       const struct access_line *line)
{
    struct log_ring *ring;
    if (!worker->priv->proxy->access_log || !chosen(worker, config, line->problem != NULL))
        return;
    struct log_slot *slot = claim(worker, &ring);
    if (!slot)
        return;
    slot->len = format(worker, config, line, slot->data);
    log_ring_publish(ring, slot);
}

void access_log_write(const struct exchange *exchange)
{
    struct worker *worker = exchange->request.worker;
    const struct access_log_config *config = &exchange->generation->config->access_log;
    bool failed = exchange->status >= 500 || exchange->request.problem != PROBLEM_NONE;
    struct log_ring *ring;
    char client[64];
    if (!worker->priv->proxy->access_log || !chosen(worker, config, failed))
        return;
    struct log_slot *slot = claim(worker, &ring);
    if (!slot)
        return;
    struct access_line line = line_of(exchange, client);
    if (config->format == ACCESS_LOG_COMBINED) {
        line.referer = request_header(&exchange->request, "referer", NULL);
        line.agent = request_header(&exchange->request, "user-agent", NULL);
    }
    slot->len = format(worker, config, &line, slot->data);
    log_ring_publish(ring, slot);
}
