/* Connections of the load generator: opening, TLS, and the protocols, all non-blocking and with no
 * more work than counting answers needs. */
#include "bench/load.h"
#include "bench/net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT (256 * 1024)
#define AGAIN (-2)

static int epoll;
static SSL_CTX *tls;
static char *input;

/* HTTP/2: preface with empty SETTINGS, and GET / of https://bench on stream 1 out of HPACK's static
 * table (RFC 7541, appendix A). */
static const char http2_hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                  "\0\0\0\4\0\0\0\0\0"
                                  "\0\0\12\1\5\0\0\0\1\202\207\204\101\5bench";
static const char http2_ack[] = "\0\0\0\4\1\0\0\0\0";

static int on_session(SSL *ssl, SSL_SESSION *fresh)
{
    struct load_conn *conn = SSL_get_app_data(ssl);
    SSL_SESSION_free(conn->session);
    conn->session = fresh;
    return 1;
}

void load_conn_init(int epoll_fd)
{
    epoll = epoll_fd;
    input = calloc(1, INPUT);
    if (!input)
        net_die("calloc");
    if (!load_options.tls)
        return;
    tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
    if (load_options.resume) {
        SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(tls, on_session);
    }
    const char *alpn = load_options.http2 ? "\2h2" : "\10http/1.1";
    SSL_CTX_set_alpn_protos(tls, (const uint8_t *)alpn, (unsigned)strlen(alpn));
}

static ssize_t tls_result(struct load_conn *conn, int n)
{
    switch (SSL_get_error(conn->ssl, n)) {
    case SSL_ERROR_NONE:
        return n;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        return -1;
    }
}

static ssize_t conn_read(struct load_conn *conn)
{
    if (conn->ssl)
        return tls_result(conn, SSL_read(conn->ssl, input, INPUT));
    ssize_t n = recv(conn->fd, input, INPUT, 0);
    return n < 0 && errno == EAGAIN ? AGAIN : n;
}

static ssize_t conn_write(struct load_conn *conn, const void *data, size_t len)
{
    if (conn->ssl)
        return tls_result(conn, SSL_write(conn->ssl, data, (int)len));
    ssize_t n = send(conn->fd, data, len, MSG_NOSIGNAL);
    return n < 0 && errno == EAGAIN ? AGAIN : n;
}

static void watch(struct load_conn *conn, bool write)
{
    if (conn->writing == write)
        return;
    conn->writing = write;
    net_rewatch(epoll, conn->fd, write ? EPOLLIN | EPOLLOUT : EPOLLIN, conn);
}

void load_conn_open(struct load_conn *conn)
{
    conn->opened_ns = net_now_ns();
    conn->fd = net_connect(load_options.address);
    conn->state = LOAD_CONNECTING;
    conn->len = 0;
    conn->in_head = true;
    conn->writing = true;
    net_watch(epoll, conn->fd, EPOLLIN | EPOLLOUT, conn);
}

void load_conn_close(struct load_conn *conn)
{
    if (conn->ssl) {
        SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(conn->ssl);
    }
    if (conn->fd >= 0)
        close(conn->fd);
    conn->ssl = NULL;
    conn->fd = -1;
    conn->state = LOAD_CLOSED;
}

/* Small enough for an empty socket buffer. */
static void send_whole(struct load_conn *conn, const void *data, size_t len)
{
    if (conn_write(conn, data, len) != (ssize_t)len)
        load_lost(conn, "write");
}

static void send_body(struct load_conn *conn)
{
    while (conn->upload_left > 0) {
        size_t want = conn->upload_left < INPUT ? (size_t)conn->upload_left : INPUT;
        ssize_t n = conn_write(conn, input, want);
        if (n == AGAIN) {
            watch(conn, true);
            return;
        }
        if (n <= 0) {
            load_lost(conn, "write");
            return;
        }
        conn->upload_left -= (uint64_t)n;
    }
    watch(conn, false);
}

static size_t request_text(char *out, size_t size)
{
    static unsigned turn;
    const struct load_options *options = &load_options;
    char path[256], length[96] = "";
    size_t body_len;
    const char *body = load_body(&body_len);
    /* A stride through the paths, so that neighbours do not share what was just looked at. */
    turn += 7919;
    if (options->paths)
        snprintf(path, sizeof(path), "%s%u/", options->path, turn % options->paths);
    else
        snprintf(path, sizeof(path), "%s", options->path);
    if (options->mode == LOAD_UPLOAD)
        snprintf(length, sizeof(length), "Content-Length: %llu\r\n",
                 (unsigned long long)options->bytes);
    else if (body_len)
        snprintf(length, sizeof(length),
                 "Content-Type: application/json\r\nContent-Length: %zu\r\n", body_len);
    int n =
        snprintf(out, size, "%s %s HTTP/1.1\r\nHost: bench\r\nUser-Agent: load\r\n%s%s%s%s\r\n%.*s",
                 options->mode == LOAD_UPLOAD || body_len ? "POST" : "GET", path, length,
                 options->mode == LOAD_HANDSHAKE ? "Connection: close\r\n" : "", options->header,
                 options->header[0] ? "\r\n" : "", (int)body_len, body);
    return (size_t)n;
}

static void send_message(struct load_conn *conn)
{
    uint8_t frame[LOAD_HEAD] = {0};
    size_t head = net_frame_head(frame, load_options.bytes, true);
    send_whole(conn, frame, head + load_options.bytes);
}

void load_conn_request(struct load_conn *conn)
{
    char text[2048];
    conn->state = LOAD_BUSY;
    conn->len = 0;
    conn->in_head = true;
    if (load_options.mode == LOAD_WEBSOCKET) {
        send_message(conn);
        return;
    }
    if (load_options.http2) {
        send_whole(conn, http2_hello, sizeof(http2_hello) - 1);
        return;
    }
    conn->upload_left = load_options.mode == LOAD_UPLOAD ? load_options.bytes : 0;
    send_whole(conn, text, request_text(text, sizeof(text)));
    if (conn->state == LOAD_BUSY && conn->upload_left)
        send_body(conn);
}

static void send_upgrade(struct load_conn *conn)
{
    char text[1024];
    int n =
        snprintf(text, sizeof(text),
                 "GET %s HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
                 load_options.path);
    conn->state = LOAD_UPGRADING;
    send_whole(conn, text, (size_t)n);
}

static void on_open(struct load_conn *conn)
{
    watch(conn, false);
    if (load_options.mode == LOAD_WEBSOCKET) {
        send_upgrade(conn);
        return;
    }
    conn->state = LOAD_FREE;
    load_ready(conn);
}

static void shake(struct load_conn *conn)
{
    ssize_t n = tls_result(conn, SSL_connect(conn->ssl));
    if (n == AGAIN) {
        watch(conn, SSL_want_write(conn->ssl));
        return;
    }
    if (n <= 0) {
        load_lost(conn, "handshake");
        return;
    }
    if (SSL_session_reused(conn->ssl))
        load_resumed();
    on_open(conn);
}

static void on_connected(struct load_conn *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);
    getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) {
        load_lost(conn, strerror(error));
        return;
    }
    if (!tls) {
        on_open(conn);
        return;
    }
    conn->ssl = SSL_new(tls);
    SSL_set_fd(conn->ssl, conn->fd);
    SSL_set_tlsext_host_name(conn->ssl, "bench");
    SSL_set_app_data(conn->ssl, conn);
    if (conn->session)
        SSL_set_session(conn->ssl, conn->session);
    conn->state = LOAD_SHAKING;
    shake(conn);
}

/* Appends to what waits for its end; how much of it was taken. */
static size_t gather(struct load_conn *conn, const char *data, size_t len)
{
    size_t take = LOAD_HEAD - conn->len < len ? LOAD_HEAD - conn->len : len;
    memcpy(conn->head + conn->len, data, take);
    conn->len += take;
    return take;
}

/* How much of the data the head took, 0 where it is not complete yet or was lost. */
static size_t take_head(struct load_conn *conn, const char *data, size_t len)
{
    size_t before = conn->len;
    gather(conn, data, len);
    char *text = (char *)conn->head;
    char *end = memmem(text, conn->len, "\r\n\r\n", 4);
    if (!end) {
        if (conn->len == LOAD_HEAD)
            load_lost(conn, "head too long");
        return 0;
    }
    size_t head = (size_t)(end - text) + 4;
    const char *wanted = conn->state == LOAD_UPGRADING ? "101" : load_options.status;
    if (head < 12 || memcmp(text + 9, wanted, 3) != 0) {
        load_lost(conn, "status");
        return 0;
    }
    conn->in_head = false;
    conn->body_left = net_header_number(text, head, "content-length", 0);
    return head - before;
}

static void http_input(struct load_conn *conn, const char *data, size_t len)
{
    size_t at = 0;
    if (conn->in_head) {
        at = take_head(conn, data, len);
        if (at == 0)
            return;
    }
    size_t rest = len - at;
    conn->body_left -= rest < conn->body_left ? rest : conn->body_left;
    if (conn->body_left > 0)
        return;
    bool close = load_options.mode == LOAD_HANDSHAKE;
    if (conn->state == LOAD_UPGRADING) {
        conn->state = LOAD_FREE;
        conn->len = 0;
        load_ready(conn);
        return;
    }
    if (!close && memmem(conn->head, conn->len, "onnection: close", 16))
        close = true;
    load_done(conn, close);
}

static void frame_input(struct load_conn *conn, const char *data, size_t len)
{
    struct net_frame frame;
    gather(conn, data, len);
    if (!net_frame_parse(conn->head, conn->len, &frame) || conn->len < frame.head + frame.payload)
        return;
    if ((frame.first & 15) == 8 || frame.payload != load_options.bytes)
        load_lost(conn, "frame");
    else
        load_done(conn, false);
}

/* Answers SETTINGS, and waits for the end of stream 1. */
static void http2_input(struct load_conn *conn, const char *data, size_t len)
{
    enum { DATA = 0, HEADERS = 1, SETTINGS = 4, END_STREAM = 1, ACK = 1 };

    gather(conn, data, len);
    while (conn->state == LOAD_BUSY && conn->len >= 9) {
        const uint8_t *frame = conn->head;
        size_t size = 9 + ((size_t)frame[0] << 16 | (size_t)frame[1] << 8 | frame[2]);
        uint8_t type = frame[3], flags = frame[4];
        if (size > LOAD_HEAD) {
            load_lost(conn, "frame too long");
            return;
        }
        if (conn->len < size)
            return;
        memmove(conn->head, conn->head + size, conn->len - size);
        conn->len -= size;
        if (type == SETTINGS && !(flags & ACK))
            send_whole(conn, http2_ack, sizeof(http2_ack) - 1);
        if ((type == DATA || type == HEADERS) && flags & END_STREAM)
            load_done(conn, false);
    }
}

static void on_input(struct load_conn *conn)
{
    do {
        ssize_t n = conn_read(conn);
        if (n == AGAIN)
            return;
        if (n <= 0) {
            load_lost(conn, conn->state == LOAD_FREE ? NULL : "closed");
            return;
        }
        if (conn->state == LOAD_FREE)
            continue;
        if (load_options.http2)
            http2_input(conn, input, (size_t)n);
        else if (conn->state == LOAD_BUSY && load_options.mode == LOAD_WEBSOCKET)
            frame_input(conn, input, (size_t)n);
        else
            http_input(conn, input, (size_t)n);
    } while (conn->ssl);
}

void load_conn_event(struct load_conn *conn, uint32_t events)
{
    switch (conn->state) {
    case LOAD_CLOSED:
        break;
    case LOAD_CONNECTING:
        on_connected(conn);
        break;
    case LOAD_SHAKING:
        shake(conn);
        break;
    case LOAD_UPGRADING:
    case LOAD_FREE:
    case LOAD_BUSY:
        if (events & EPOLLOUT && conn->upload_left)
            send_body(conn);
        if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && conn->fd >= 0)
            on_input(conn);
        break;
    }
}
