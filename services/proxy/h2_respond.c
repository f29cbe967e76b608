/* The response side of a stream: heads become header lists, bodies DATA frames as the windows
 * allow. What a window or the socket does not take waits in the stream, up to a bound. */
#include "services/proxy/h2_private.h"

#include "libcommon/mem.h"

#include <string.h>

#define NV_EXTRA 64 /* beside the origin's fields */

struct list {
    nghttp2_nv *nva;
    size_t count, size;
    char number[20];
    bool overflow;
};

/* nghttp2 copies: the origin's buffer is used again before all of this may leave. */
static void push(struct list *list, const char *name, size_t name_len, const char *value,
                 size_t value_len, uint8_t flags)
{
    union {
        const char *in;
        uint8_t *out;
    } n = {.in = name}, v = {.in = value};

    if (list->count == list->size) {
        list->overflow = true;
        return;
    }
    list->nva[list->count++] = (nghttp2_nv){n.out, v.out, name_len, value_len, flags};
}

static struct list list_begin(struct h2 *h2)
{
    struct h2_worker *shared = h2_shared(h2->worker);
    size_t size = h2->worker->priv->limits.fields + NV_EXTRA;
    if (shared->nva_size < size) {
        shared->nva = mem_resize(shared->nva, size, sizeof(*shared->nva));
        shared->nva_size = size;
    }
    return (struct list){.nva = shared->nva, .size = size};
}

static void push_status(struct list *list, unsigned status, char text[3])
{
    text[0] = (char)('0' + status / 100);
    text[1] = (char)('0' + status / 10 % 10);
    text[2] = (char)('0' + status % 10);
    push(list, ":status", 7, text, 3, NGHTTP2_NV_FLAG_NONE);
}

/* "Name: value\r\n" ... */
static void push_lines(struct list *list, h2o_iovec_t lines)
{
    const char *at = lines.base, *end = at + lines.len;
    while (at < end) {
        const char *stop = memchr(at, '\r', (size_t)(end - at));
        const char *colon = stop ? memchr(at, ':', (size_t)(stop - at)) : NULL;
        if (!colon)
            return;
        const char *value = colon + 1;
        while (value < stop && *value == ' ')
            value++;
        push(list, at, (size_t)(colon - at), value, (size_t)(stop - value), NGHTTP2_NV_FLAG_NONE);
        at = stop + 2;
    }
}

/* The key that it answers was ours. */
static bool of_handshake(const struct http1_head *head, const struct http1_field *field)
{
    return field->name_len == 20 &&
           strncasecmp(head->base + field->name, "sec-websocket-accept", 20) == 0;
}

static void push_origin(struct list *list, const struct response *response)
{
    const struct http1_head *head = response->head;
    bool sized = response->status >= 200 && response->status != 204;
    for (size_t i = 0; i < head->count; i++) {
        const struct http1_field *field = &head->fields[i];
        if (field->dropped || field->id == NAME_X_REQUEST_ID ||
            (field->id == NAME_CONTENT_LENGTH && !sized) ||
            (response->status == 101 && of_handshake(head, field)))
            continue;
        push(list, head->base + field->name, field->name_len, head->base + field->value,
             field->value_len, NGHTTP2_NV_FLAG_NONE);
    }
}

static void push_number(struct list *list, const char *name, uint64_t number)
{
    size_t at = sizeof(list->number);
    do {
        list->number[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    push(list, name, strlen(name), list->number + at, sizeof(list->number) - at,
         NGHTTP2_NV_FLAG_NONE);
}

static void push_ours(struct list *list, struct exchange *exchange, const struct response *response)
{
    if (!response->head)
        push_number(list, "content-length", response->length);
    if (!response->head || !response->head->seen[NAME_DATE])
        push_lines(list, worker_date(exchange->request.worker));
    /* New in each answer: not worth a place in the client's table. */
    if (exchange->id_text)
        push(list, "x-request-id", 12, exchange->id_text, strlen(exchange->id_text),
             NGHTTP2_NV_FLAG_NO_INDEX);
    for (const struct added_header *at = exchange->response_headers; at; at = at->next)
        push(list, at->name, strlen(at->name), at->value.base, at->value.len, NGHTTP2_NV_FLAG_NONE);
}

static void submit_trailers(struct h2_stream *stream)
{
    struct list list = list_begin(stream->h2);
    push_lines(&list, stream->response_trailers);
    if (list.overflow ||
        nghttp2_submit_trailer(stream->h2->session, stream->id, list.nva, list.count))
        nghttp2_submit_rst_stream(stream->h2->session, NGHTTP2_FLAG_NONE, stream->id,
                                  NGHTTP2_INTERNAL_ERROR);
}

static ssize_t read_data(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len,
                         uint32_t *flags, nghttp2_data_source *source, void *data)
{
    struct h2_stream *stream = source->ptr;
    size_t waiting = stream->out.len + stream->piece_len;
    (void)session, (void)id, (void)buf, (void)data;
    if (waiting == 0 && !stream->ended)
        return NGHTTP2_ERR_DEFERRED;
    stream->starved = stream->h2->out_len >= H2_OUT_HIGH;
    if (stream->starved) {
        stream->h2->starved = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (waiting > len)
        return (ssize_t)len;
    if (stream->ended) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (stream->response_trailers.len) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            submit_trailers(stream);
        }
    }
    return (ssize_t)waiting;
}

static void keep_trailers(struct h2_stream *stream, h2o_iovec_t lines)
{
    stream->response_trailers = h2o_iovec_init(mem_alloc(lines.len), lines.len);
    memcpy(stream->response_trailers.base, lines.base, lines.len);
}

/* As much as may leave goes into the connection's frames at once, the rest is queued. */
static void send_piece(struct h2_stream *stream, const struct piece *piece)
{
    if (piece->end && piece->trailers.len)
        keep_trailers(stream, piece->trailers);
    stream->ended = piece->end;
    stream->piece = piece->data;
    stream->piece_len = piece->len;
    h2_pump(stream->h2);
    io_queue_add(&stream->out, stream->piece, stream->piece_len);
    stream->piece_len = 0;
    h2_stream_touch(stream);
    h2_mark(stream->h2);
}

static void reset(struct h2_stream *stream, uint32_t error)
{
    stream->ended = true;
    nghttp2_submit_rst_stream(stream->h2->session, NGHTTP2_FLAG_NONE, stream->id, error);
    h2_mark(stream->h2);
}

static void respond(struct exchange *exchange, const struct response *response,
                    const struct piece *piece)
{
    struct h2_stream *stream = exchange->downstream;
    struct list list = list_begin(stream->h2);
    nghttp2_data_provider provider = {.source.ptr = stream, .read_callback = read_data};
    char status[3];
    bool bare = piece->end && piece->len == 0 && piece->trailers.len == 0;
    if (stream->closed)
        return;
    push_status(&list, response->status == 101 ? 200 : response->status, status);
    if (response->head)
        push_origin(&list, response);
    push_lines(&list, response->lines);
    push_ours(&list, exchange, response);
    if (list.overflow || nghttp2_submit_response(stream->h2->session, stream->id, list.nva,
                                                 list.count, bare ? NULL : &provider)) {
        reset(stream, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    send_piece(stream, piece);
}

static void interim(struct exchange *exchange, const struct response *response)
{
    struct h2_stream *stream = exchange->downstream;
    struct list list = list_begin(stream->h2);
    char status[3];
    if (stream->closed)
        return;
    push_status(&list, response->status, status);
    push_origin(&list, response);
    if (!list.overflow)
        nghttp2_submit_headers(stream->h2->session, NGHTTP2_FLAG_NONE, stream->id, NULL, list.nva,
                               list.count, NULL);
    h2_mark(stream->h2);
}

static void body(struct exchange *exchange, const struct piece *piece)
{
    struct h2_stream *stream = exchange->downstream;
    if (stream->closed || stream->ended)
        return;
    nghttp2_session_resume_data(stream->h2->session, stream->id);
    send_piece(stream, piece);
}

static bool full(struct exchange *exchange)
{
    struct h2_stream *stream = exchange->downstream;
    stream->throttled = stream->out.len > H2_STREAM_HIGH;
    return stream->throttled;
}

static void cut(struct exchange *exchange)
{
    struct h2_stream *stream = exchange->downstream;
    if (!stream->closed)
        reset(stream, NGHTTP2_INTERNAL_ERROR);
}

/* What is queued still leaves; the stream is freed when nghttp2 has closed it. */
static void done(struct exchange *exchange)
{
    struct h2_stream *stream = exchange->downstream;
    stream->exchange = NULL;
    h2_stream_touch(stream);
    h2_mark(stream->h2);
}

const struct downstream_ops h2_ops = {.interim = interim,
                                      .respond = respond,
                                      .body = body,
                                      .full = full,
                                      .pull = h2_stream_pull,
                                      .cut = cut,
                                      .done = done};
