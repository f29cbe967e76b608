/* What passes between client and origin: counted, bounded, and shown to the rooms that asked for
 * it. */
#include "services/proxy/route.h"
#include "services/proxy/stream.h"

#include <string.h>

/* -1: a room ended the exchange. */
static int show(struct exchange *exchange, enum room_direction direction, const char *data,
                size_t len)
{
    for (size_t i = 0; i < exchange->depth; i++)
        if (room_list[i]->on_data &&
            room_list[i]->on_data(&exchange->request, direction, data, len))
            return -1;
    return 0;
}

int exchange_count(struct exchange *exchange, enum room_direction direction,
                   const struct piece *piece)
{
    struct meter_state *meter = &exchange->request.meter;
    if (direction == ROOM_INBOUND)
        meter->bytes_in += piece->len;
    else
        meter->bytes_out += piece->len;
    if (piece->len && !piece->data)
        metric_add(exchange->request.worker->priv->stats.spliced, (int64_t)piece->len);
    return piece->len ? show(exchange, direction, piece->data, piece->len) : 0;
}

size_t exchange_splice_most(const struct exchange *exchange, uint64_t left)
{
    /* For sale: of a piece that a room refuses no more is counted than if it had been read. */
    uint64_t most = exchange->request.qos.share ? WORKER_BUFFER : SPLICE_MAX;
    return (size_t)(left < most ? left : most);
}

int exchange_pull(struct exchange *exchange, struct piece *piece)
{
    struct request *request = &exchange->request;
    if (exchange->tunnel)
        return stream_pull(exchange, piece);
    if (exchange->body_ended)
        return 0;
    int result = exchange->ops->pull(exchange, piece);
    if (result < 0)
        request_refuse(request, PROBLEM_BAD_REQUEST, "the body's framing is malformed");
    if (result <= 0)
        return result;
    exchange->body_ended = piece->end;
    if (piece->trailers.len)
        header_edit_trailers(&request->route->request_edit, &piece->trailers);
    if (exchange->body_limit && request->meter.bytes_in + piece->len > exchange->body_limit) {
        request->meter.bytes_in += piece->len;
        request_refuse(request, PROBLEM_BODY_TOO_LARGE, NULL);
        return -1;
    }
    return exchange_count(exchange, ROOM_INBOUND, piece) ? -1 : 1;
}

void exchange_interim(struct exchange *exchange, const struct response *response)
{
    exchange->ops->interim(exchange, response);
}

int exchange_respond(struct exchange *exchange, const struct response *response,
                     const struct piece *piece)
{
    if (response->head)
        stream_inspect(exchange, response);
    if (!exchange->stream && exchange_count(exchange, ROOM_OUTBOUND, piece))
        return -1;
    exchange_dress(exchange, response);
    debug_headers(exchange);
    exchange->responded = true;
    exchange->first_byte_ns = exchange->request.worker->now_ns;
    exchange->status = response->status;
    if (exchange->stream)
        return stream_body(exchange, response, piece);
    exchange->ops->respond(exchange, response, piece);
    return 0;
}

int exchange_body(struct exchange *exchange, const struct piece *piece)
{
    if (exchange->stream)
        return stream_body(exchange, NULL, piece);
    if (exchange_count(exchange, ROOM_OUTBOUND, piece))
        return -1;
    exchange->ops->body(exchange, piece);
    return 0;
}

bool exchange_full(struct exchange *exchange)
{
    return exchange->ops->full(exchange) || (exchange->stream && stream_full(exchange));
}

void exchange_answer(struct exchange *exchange, unsigned status, h2o_iovec_t lines,
                     h2o_iovec_t body)
{
    struct response response = {
        .status = status, .lines = lines, .body = BODY_LENGTH, .length = body.len};
    struct piece piece = {.data = body.base, .len = exchange->is_head ? 0 : body.len, .end = true};
    exchange_dress(exchange, &response);
    debug_headers(exchange);
    exchange->responded = true;
    exchange->request.meter.bytes_out += piece.len;
    exchange->first_byte_ns = exchange->request.worker->now_ns;
    exchange->status = status;
    exchange->ops->respond(exchange, &response, &piece);
}
