/* One line a request, sampled; never the query, which may carry a token. */
#include "libcommon/log.h"
#include "services/proxy/exchange.h"

static bool chosen(struct worker *worker)
{
    double sample = worker->priv->generation->config->access_log.sample;
    if (sample >= 1)
        return true;
    return sample > 0 && (double)(worker_random(worker) >> 11) * 0x1p-53 < sample;
}

void access_log(struct exchange *exchange)
{
    struct request *request = &exchange->request;
    char client[64];
    if (log_get_level() > LOG_LEVEL_INFO || !chosen(request->worker))
        return;
    client[address_text(&exchange->client, client)] = '\0';
    log_info(
        "request", LOG_STR(REQUEST_ID, exchange->id_text), LOG_STR(CLIENT, client),
        LOG_STRN(METHOD, exchange->method.base, exchange->method.len),
        LOG_STRN(HOST, exchange->host.base, exchange->host.len),
        LOG_STRN(PATH, exchange->path.base, exchange->path.len), LOG_INT(STATUS, exchange->status),
        LOG_STR(PROBLEM, request->problem ? problem_get(request->problem)->name : NULL),
        LOG_STR(ROUTE, request->route ? request->route->name : NULL),
        LOG_STR(BACKEND, exchange->backend ? exchange->backend->authority.base : NULL),
        LOG_UINT(BYTES_IN, request->meter.bytes_in), LOG_UINT(BYTES_OUT, request->meter.bytes_out),
        LOG_FLOAT(DURATION_MS, (double)(request->worker->now_ns - exchange->start_ns) / 1e6),
        LOG_BOOL(ABORTED, exchange->gone));
}
