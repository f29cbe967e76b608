/* The origin behind the benchmarked servers: one thread that costs as little as it can, so that
 * the server in front of it is what is measured.
 *   GET anything      12 bytes; /64k: 65,536 bytes; /bytes/N: N bytes
 *   POST, PUT         reads the body to its end, then 12 bytes
 *   Upgrade           WebSocket: echoes each frame
 * usage: bench_origin ADDRESS:PORT */
#include "bench/net.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define INPUT (128 * 1024)
#define BLOCK (256 * 1024)
#define SMALL 12

struct conn {
    int fd;
    size_t len;         /* of input */
    uint64_t body_left; /* of the request: answered when it is 0 */
    uint64_t send_left; /* of the response's body */
    bool receiving, websocket, watching_write;
    uint8_t *input;
    uint8_t *output; /* echoed frames the client does not take yet */
    size_t output_len;
};

static int epoll;
static char block[BLOCK];

static void close_conn(struct conn *conn)
{
    close(conn->fd);
    conn->fd = -1;
}

static void free_conn(struct conn *conn)
{
    free(conn->input);
    free(conn->output);
    free(conn);
}

static void watch(struct conn *conn, bool write)
{
    if (conn->watching_write == write)
        return;
    conn->watching_write = write;
    net_rewatch(epoll, conn->fd, write ? EPOLLOUT : EPOLLIN, conn);
}

static void send_body(struct conn *conn)
{
    while (conn->send_left > 0) {
        size_t want = conn->send_left < BLOCK ? (size_t)conn->send_left : BLOCK;
        ssize_t n = send(conn->fd, block, want, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN)
                close_conn(conn);
            else
                watch(conn, true);
            return;
        }
        conn->send_left -= (uint64_t)n;
    }
    watch(conn, false);
}

static void respond(struct conn *conn, uint64_t length)
{
    char head[256];
    int n = snprintf(head, sizeof(head),
                     "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
                     "Content-Type: text/plain\r\nContent-Length: %llu\r\n\r\n",
                     (unsigned long long)length);
    size_t with = length < BLOCK ? (size_t)length : BLOCK;
    struct iovec iov[] = {{head, (size_t)n}, {block, with}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
    if (sent < n) {
        close_conn(conn);
        return;
    }
    conn->send_left = length - (uint64_t)(sent - n);
    send_body(conn);
}

static void upgrade(struct conn *conn, const char *head)
{
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const char *key = strcasestr(head, "\r\nSec-WebSocket-Key:");
    char text[128], reply[256];
    uint8_t digest[SHA_DIGEST_LENGTH], accept[64];
    char value[64] = "";
    if (key)
        sscanf(key + 20, " %63[^\r]", value);
    int n = snprintf(text, sizeof(text), "%s%s", value, magic);
    SHA1((const uint8_t *)text, (size_t)n, digest);
    EVP_EncodeBlock(accept, digest, sizeof(digest));
    n = snprintf(reply, sizeof(reply),
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                 "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                 (const char *)accept);
    conn->websocket = true;
    if (send(conn->fd, reply, (size_t)n, MSG_NOSIGNAL) != n)
        close_conn(conn);
}

static uint64_t wanted_bytes(const char *head)
{
    const char *path = strchr(head, ' ');
    if (path && strncmp(path, " /64k", 5) == 0)
        return 65536;
    if (path && strncmp(path, " /bytes/", 8) == 0)
        return strtoull(path + 8, NULL, 10);
    return SMALL;
}

static void drop_input(struct conn *conn, size_t len)
{
    memmove(conn->input, conn->input + len, conn->len - len);
    conn->len -= len;
}

/* False: more must come first. */
static bool take_request(struct conn *conn)
{
    char *data = (char *)conn->input;
    char *end = memmem(data, conn->len, "\r\n\r\n", 4);
    if (!end)
        return false;
    size_t len = (size_t)(end - data) + 4;
    end[2] = '\0';
    uint64_t body = net_header_number(data, len, "content-length", 0);
    uint64_t bytes = wanted_bytes(data);
    if (strcasestr(data, "\r\nUpgrade: websocket"))
        upgrade(conn, data);
    else if (body == 0)
        respond(conn, bytes);
    conn->receiving = body > 0;
    conn->body_left = body;
    if (conn->fd >= 0)
        drop_input(conn, len);
    return conn->fd >= 0;
}

static bool take_body(struct conn *conn)
{
    size_t take = conn->len < conn->body_left ? conn->len : (size_t)conn->body_left;
    conn->body_left -= take;
    drop_input(conn, take);
    if (conn->body_left > 0)
        return false;
    conn->receiving = false;
    respond(conn, SMALL);
    return conn->fd >= 0;
}

static void flush_output(struct conn *conn)
{
    if (conn->output_len == 0)
        return;
    ssize_t n = send(conn->fd, conn->output, conn->output_len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        close_conn(conn);
        return;
    }
    size_t sent = n > 0 ? (size_t)n : 0;
    memmove(conn->output, conn->output + sent, conn->output_len - sent);
    conn->output_len -= sent;
    watch(conn, conn->output_len > 0);
}

static bool take_frame(struct conn *conn)
{
    struct net_frame frame;
    if (!net_frame_parse(conn->input, conn->len, &frame) ||
        conn->len < frame.head + frame.payload ||
        conn->output_len + frame.payload + NET_FRAME_HEAD_MAX > INPUT)
        return false;
    if (!conn->output)
        conn->output = malloc(INPUT);
    uint8_t *out = conn->output + conn->output_len;
    size_t head = net_frame_head(out, frame.payload, false);
    out[0] = frame.first;
    for (size_t i = 0; i < frame.payload; i++)
        out[head + i] = conn->input[frame.head + i] ^ frame.mask[i & 3];
    conn->output_len += head + frame.payload;
    drop_input(conn, frame.head + frame.payload);
    return true;
}

static bool step(struct conn *conn)
{
    if (conn->websocket)
        return take_frame(conn);
    if (conn->receiving)
        return take_body(conn);
    return conn->send_left == 0 && take_request(conn);
}

static void on_input(struct conn *conn)
{
    ssize_t n = recv(conn->fd, conn->input + conn->len, INPUT - conn->len, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        close_conn(conn);
        return;
    }
    conn->len += (size_t)n;
}

static void on_event(struct conn *conn, uint32_t events)
{
    if (events & EPOLLOUT) {
        if (conn->websocket)
            flush_output(conn);
        else
            send_body(conn);
    } else {
        on_input(conn);
    }
    while (conn->fd >= 0 && step(conn))
        ;
    if (conn->fd >= 0 && conn->websocket)
        flush_output(conn);
    if (conn->fd < 0)
        free_conn(conn);
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *conn = calloc(1, sizeof(*conn));
        uint8_t *input = malloc(INPUT);
        if (!conn || !input)
            net_die("malloc");
        conn->fd = fd;
        conn->input = input;
        net_watch(epoll, fd, EPOLLIN, conn);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    if (argc != 2) {
        fprintf(stderr, "usage: bench_origin ADDRESS:PORT\n");
        return 2;
    }
    memset(block, 'x', sizeof(block));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int listener = net_listen(argv[1]);
    net_watch(epoll, listener, EPOLLIN, NULL);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                on_event(events[i].data.ptr, events[i].events);
            else
                accept_all(listener);
        }
    }
}
