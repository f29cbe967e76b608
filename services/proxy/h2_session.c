/* nghttp2's callbacks: what came in is noted, what goes out is gathered. None of them calls an
 * exchange. */
#include "services/proxy/h2_private.h"

#include "libcommon/mem.h"

#include <string.h>

#define FRAME_ROOM (16384 + 9)
/* Over what limits.header_bytes lets an origin send and what is added to it: nghttp2 would drop a
 * longer one without a word. */
#define SEND_HEAD_MAX (1024 * 1024)
/* Frames behind the first of a head that is as long as limits.header_bytes may let it be, where
 * each is full; some more for who does not fill them. */
#define CONTINUATIONS_MAX 24
#define PROTOCOL_RESET(code)                                                                       \
    ((code) != NGHTTP2_NO_ERROR && (code) != NGHTTP2_INTERNAL_ERROR && (code) != NGHTTP2_CANCEL)

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;

static int verdict(const struct h2 *h2)
{
    return h2->failing ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* nghttp2 keeps no record of closed streams. Those that we have reset may still get frames that
 * were on their way. */
static void check_closed(struct h2 *h2, const nghttp2_frame_hd *hd)
{
    int32_t last = nghttp2_session_get_last_proc_stream_id(h2->session);
    if (!(hd->stream_id & 1) || hd->stream_id > last || hd->stream_id <= h2->reset_id ||
        nghttp2_session_find_stream(h2->session, hd->stream_id))
        return;
    uint32_t ago = (uint32_t)(h2->last_id - hd->stream_id) / 2;
    bool was_open = ago >= 64 || h2->opened >> ago & 1;
    h2_fail(h2, was_open ? NGHTTP2_STREAM_CLOSED : NGHTTP2_PROTOCOL_ERROR, NULL);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *data)
{
    struct h2 *h2 = data;
    (void)session;
    switch (hd->type) {
    case NGHTTP2_DATA:
        check_closed(h2, hd);
        if (hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM))
            h2_charge(h2, H2_COST_EMPTY);
        break;
    case NGHTTP2_HEADERS:
        check_closed(h2, hd);
        if (hd->length == 0)
            h2_charge(h2, H2_COST_EMPTY);
        break;
    case NGHTTP2_SETTINGS:
        h2_charge(h2, hd->flags & NGHTTP2_FLAG_ACK ? H2_COST_CONTROL : H2_COST_SETTINGS);
        break;
    case NGHTTP2_PING:
        h2_charge(h2, H2_COST_PING);
        break;
    case NGHTTP2_RST_STREAM:
        h2_charge(h2, H2_COST_RESET);
        break;
    default:
        /* nghttp2 does not look at priorities any more. */
        if (hd->type == NGHTTP2_PRIORITY && hd->stream_id == 0)
            h2_fail(h2, NGHTTP2_PROTOCOL_ERROR, NULL);
        h2_charge(h2, H2_COST_CONTROL);
        break;
    }
    return verdict(h2);
}

static void note_opened(struct h2 *h2, int32_t id)
{
    uint32_t steps = (uint32_t)(id - h2->last_id) / 2;
    h2->opened = steps < 64 ? h2->opened << steps | 1 : 1;
    h2->last_id = id;
}

static void return_block(struct h2 *h2)
{
    h2_block_give(&h2_shared(h2->worker)->blocks, &h2->block);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
    struct h2 *h2 = data;
    const struct http1_limits *limits = &h2->worker->priv->limits;
    return_block(h2);
    h2->block = h2_block_take(&h2_shared(h2->worker)->blocks, limits);
    h2->block->limits = *limits;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        /* Streams share the connection, unless the client says otherwise (RFC 9218). */
        const nghttp2_extpri share = {.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1};
        nghttp2_session_change_extpri_stream_priority(session, frame->hd.stream_id, &share, 0);
        note_opened(h2, frame->hd.stream_id);
    }
    h2_block_begin(h2->block, frame->headers.cat != NGHTTP2_HCAT_REQUEST);
    h2_since(h2);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *data)
{
    struct h2 *h2 = data;
    (void)flags;
    if (!h2->block)
        return 0;
    switch (h2_block_add(h2->block, (const char *)name, name_len, (const char *)value, value_len)) {
    case H2_BLOCK_OK:
        return 0;
    case H2_BLOCK_MALFORMED:
        return_block(h2);
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_PROTOCOL_ERROR);
        return 0;
    case H2_BLOCK_BOMB:
        h2_fail(h2, NGHTTP2_ENHANCE_YOUR_CALM, "headers");
        break;
    }
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* What nghttp2 would drop without a word. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             const uint8_t *name, size_t name_len, const uint8_t *value,
                             size_t value_len, uint8_t flags, void *data)
{
    (void)session, (void)frame, (void)name, (void)name_len, (void)value, (void)value_len;
    (void)flags, (void)data;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* nghttp2 resets the stream by itself. */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *data)
{
    (void)session, (void)error;
    if (frame->hd.type == NGHTTP2_HEADERS)
        return_block(data);
    return 0;
}

static struct h2_stream *stream_of(struct h2 *h2, int32_t id)
{
    return nghttp2_session_get_stream_user_data(h2->session, id);
}

static void on_headers(struct h2 *h2, const nghttp2_frame *frame)
{
    struct h2_stream *stream = stream_of(h2, frame->hd.stream_id);
    if (!h2->block)
        return;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST && !stream)
        stream = h2_stream_new(h2, frame->hd.stream_id);
    /* A reload may have come between. */
    h2->block->limits.fields = h2->worker->priv->limits.fields;
    if (stream)
        h2_stream_head(stream);
    return_block(h2);
    h2_since(h2);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
    struct h2 *h2 = data;
    struct h2_stream *stream;
    (void)session;
    if (frame->hd.type == NGHTTP2_HEADERS)
        on_headers(h2, frame);
    if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK && h2->goaway == 1)
        h2->goaway = 2;
    bool ends = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (ends && frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
        (stream = stream_of(h2, frame->hd.stream_id))) {
        stream->remote_ended = stream->input = true;
        h2_stream_touch(stream);
    }
    return verdict(h2);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                   size_t len, void *data)
{
    struct h2 *h2 = data;
    struct h2_stream *stream = stream_of(h2, id);
    (void)flags;
    /* For nobody: it costs the stream's window, not the connection's. */
    if (!stream || !stream->exchange || stream->closed) {
        nghttp2_session_consume_connection(session, len);
        return 0;
    }
    io_queue_add(&stream->in, (const char *)bytes, len);
    if (stream->waits_for == H2_WAITS_BODY)
        stream->progress += len;
    h2->held += len;
    if (h2->held <= H2_HELD_MAX)
        nghttp2_session_consume_connection(session, len);
    else
        stream->unreturned += len;
    stream->input = true;
    h2_stream_touch(stream);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *data)
{
    struct h2 *h2 = data;
    struct h2_stream *stream = stream_of(h2, id);
    (void)session, (void)error;
    if (!stream)
        return 0;
    stream->closed = true;
    h2_stream_touch(stream);
    return 0;
}

/* The client's part of a stream that is answered has no receiver any more: h2_stream.c tells it. */
static void after_end(struct h2 *h2, int32_t id)
{
    struct h2_stream *stream = stream_of(h2, id);
    if (!stream)
        return;
    stream->sent = true;
    h2_stream_touch(stream);
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
    struct h2 *h2 = data;
    (void)session;
    if (frame->hd.type == NGHTTP2_RST_STREAM && frame->hd.stream_id > h2->reset_id)
        h2->reset_id = frame->hd.stream_id;
    if (frame->hd.type == NGHTTP2_RST_STREAM && PROTOCOL_RESET(frame->rst_stream.error_code))
        h2_charge(h2, H2_COST_RESET);
    if (frame->hd.type == NGHTTP2_DATA)
        h2_guard_credit(&h2->guard, H2_COST_CONTROL, 4);
    bool ends = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (ends && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        after_end(h2, frame->hd.stream_id);
    return 0;
}

void h2_gather(struct h2 *h2, const void *data, size_t len)
{
    struct h2_worker *shared = h2_shared(h2->worker);
    if (h2->out_len + len > H2_OUT_SIZE)
        h2_write(h2);
    if (!h2->out)
        h2->out = shared->out_count ? shared->outs[--shared->out_count] : mem_alloc(H2_OUT_SIZE);
    memcpy(h2->out + h2->out_len, data, len);
    h2->out_len += len;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                        size_t len, nghttp2_data_source *source, void *data)
{
    struct h2_stream *stream = source->ptr;
    struct h2 *h2 = data;
    (void)session, (void)frame;
    h2_gather(h2, head, 9);
    size_t n = len < stream->out.len ? len : stream->out.len;
    if (n) {
        h2_gather(h2, stream->out.data + stream->out.at, n);
        io_queue_take(&stream->out, n);
    }
    if (len > n) {
        h2_gather(h2, stream->piece, len - n);
        stream->piece += len - n;
        stream->piece_len -= len - n;
    }
    h2->sent += len;
    h2->sent_id = stream->id;
    if (stream->waits_for == H2_WAITS_WRITE) {
        stream->progress += len;
        h2_stream_touch(stream);
    }
    if (stream->throttled && stream->out.len <= H2_STREAM_LOW) {
        stream->drained = true;
        h2_stream_touch(stream);
    }
    return 0;
}

/* nghttp2 keeps the room for a frame in each session, idle ones too. No frame is ever left half in
 * it when h2_pump returns, so that one does for all sessions of a worker. */
static void *resize(void *ptr, size_t size, void *data)
{
    struct h2 *h2 = data;
    struct h2_worker *shared = h2_shared(h2->worker);
    if (ptr || size < FRAME_ROOM || size > FRAME_ROOM + 64 || h2->frame_lent)
        return ptr && ptr == shared->frame ? NULL : realloc(ptr, size);
    h2->frame_lent = true;
    if (!shared->frame)
        shared->frame = mem_alloc(FRAME_ROOM + 64);
    return shared->frame;
}

static void release(void *ptr, void *data)
{
    struct h2 *h2 = data;
    if (ptr && ptr == h2_shared(h2->worker)->frame)
        h2->frame_lent = false;
    else
        free(ptr);
}

static void *allocate(size_t size, void *data)
{
    (void)data;
    return malloc(size);
}

static void *allocate_many(size_t count, size_t size, void *data)
{
    (void)data;
    return calloc(count, size);
}

int h2_session_open(struct h2 *h2, nghttp2_session **out)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)h2->worker->priv->limits.head_bytes},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    nghttp2_mem memory = {h2, allocate, release, allocate_many, resize};
    if (nghttp2_session_server_new3(out, callbacks, h2, options, &memory))
        return -1;
    return nghttp2_submit_settings(*out, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings)) ||
                   nghttp2_session_set_local_window_size(*out, NGHTTP2_FLAG_NONE, 0, H2_CONN_WINDOW)
               ? -1
               : 0;
}

/* DATA that had no room in the frames of before (h2_respond.c): in turn, from behind the stream
 * that had its turn last. */
static void feed_starved(struct h2 *h2)
{
    struct h2_stream *last = h2->streams;
    h2->starved = false;
    while (last && last->id != h2->sent_id)
        last = last->next;
    for (struct h2_stream *stream = last ? last->next : NULL; stream; stream = stream->next)
        if (stream->starved)
            nghttp2_session_resume_data(h2->session, stream->id);
    for (struct h2_stream *stream = h2->streams; stream; stream = stream->next) {
        if (stream->starved)
            nghttp2_session_resume_data(h2->session, stream->id);
        if (stream == last)
            break;
    }
}

static bool sends(const struct h2 *h2)
{
    return h2->state == H2_OPEN && !h2->failing && !h2->broken && h2->queue.len == 0;
}

void h2_pump(struct h2 *h2)
{
    while (sends(h2)) {
        const uint8_t *bytes;
        if (h2->starved)
            feed_starved(h2);
        ssize_t n = nghttp2_session_mem_send(h2->session, &bytes);
        if (n < 0)
            h2_fail(h2, NGHTTP2_INTERNAL_ERROR, NULL);
        else if (n > 0)
            h2_gather(h2, bytes, (size_t)n);
        else if (!h2->starved)
            return;
        else
            h2_write(h2);
    }
}

__attribute__((constructor)) static void make_callbacks(void)
{
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_option_new(&options);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_no_closed_streams(options, 1);
    nghttp2_option_set_max_outbound_ack(options, 256);
    nghttp2_option_set_max_send_header_block_length(options, SEND_HEAD_MAX);
    nghttp2_option_set_max_continuations(options, CONTINUATIONS_MAX);
    nghttp2_option_set_peer_max_concurrent_streams(options, H2_STREAMS);
}
