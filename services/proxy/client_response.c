/* The response side of a client's connection: heads, framed bodies, and what the client has not
 * taken yet. */
#include "services/proxy/client.h"
#include "services/proxy/frame.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define OUT_HIGH (64 * 1024) /* more than this waiting: the origin is not read */
#define OUT_LOW  (16 * 1024)

size_t client_waiting(const struct client *client)
{
    return client->out.len + client->pipe.held;
}

int client_flush(struct client *client)
{
    size_t before = client_waiting(client);
    int result = io_flush(&client->io, &client->out);
    if (result == 0 && client->out.len == 0)
        result = splice_write(&client->pipe, client->io.fd);
    client->progress += before - client_waiting(client);
    return result;
}

static void on_writable(h2o_socket_t *sock, const char *err)
{
    struct client *client = sock->data;
    (void)err;
    worker_tick(client->worker);
    client->notified = false;
    if (client_flush(client))
        client->broken = true;
    client_finish_write(client);
    if (client->io.sock && client->exchange && client->pipe.held == 0 && client->out.len <= OUT_LOW)
        upstream_drained(client->exchange);
}

static void want_write(struct client *client)
{
    if (client_waiting(client) == 0 || client->notified)
        return;
    client->notified = true;
    h2o_socket_notify_write(client->io.sock, on_writable);
}

/* Reading finds the end of the connection, from where the exchange can be ended. */
static void on_write_error(struct client *client)
{
    client->broken = true;
    io_queue_free(&client->out);
    splice_drop(&client->pipe);
    if (client->paused)
        client_resume(client);
}

void client_write(struct client *client, struct iovec *iov, int count)
{
    if (client->broken || count == 0)
        return;
    size_t written = 0;
    assert(client->pipe.held == 0);
    if (io_write(&client->io, &client->out, iov, count, &written)) {
        on_write_error(client);
        return;
    }
    client->progress += written;
    want_write(client);
    client_arm(client);
}

/* What was put into the pipe just now. */
static void write_pipe(struct client *client)
{
    if (client->broken || client_flush(client)) {
        on_write_error(client);
        return;
    }
    want_write(client);
    client_arm(client);
}

void client_want_write(struct client *client)
{
    want_write(client);
}

static const char *reason_of(unsigned status)
{
    switch (status) {
    case 100:
        return "Continue";
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 301:
        return "Moved Permanently";
    case 302:
        return "Found";
    case 303:
        return "See Other";
    case 307:
        return "Temporary Redirect";
    case 308:
        return "Permanent Redirect";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 402:
        return "Payment Required";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 410:
        return "Gone";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 417:
        return "Expectation Failed";
    case 429:
        return "Too Many Requests";
    case 426:
        return "Upgrade Required";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "";
    }
}

static void status_line(struct head_writer *writer, const struct response *response)
{
    if (response->status == 200 && response->head && response->head->reason.len == 2) {
        head_add(writer, "HTTP/1.1 200 OK\r\n", 17);
        return;
    }
    char status[16];
    int n = snprintf(status, sizeof(status), "HTTP/1.1 %03u ", response->status);
    head_add(writer, status, (size_t)n);
    if (response->head) {
        h2o_iovec_t reason = http1_slice(response->head, response->head->reason);
        head_add(writer, reason.base, reason.len);
    } else {
        head_puts(writer, reason_of(response->status));
    }
    head_add(writer, "\r\n", 2);
}

static void drop_field(const struct http1_head *head, enum http1_name name)
{
    for (size_t i = 0; head->seen[name] && i < head->count; i++)
        if (head->fields[i].id == name)
            head->fields[i].dropped = true;
}

static void origin_fields(struct head_writer *writer, const struct response *response)
{
    const struct http1_head *head = response->head;
    drop_field(head, NAME_X_REQUEST_ID);
    if (response->status == 204 || response->status < 200)
        drop_field(head, NAME_CONTENT_LENGTH);
    head_fields(writer, head);
}

/* How the client learns where the body ends. */
static void framing(struct client *client, struct head_writer *writer,
                    const struct response *response)
{
    const struct exchange *exchange = client->exchange;
    if (response->body == BODY_TUNNEL) {
        client->unsized = true;
        http1_body_init(&client->body, BODY_TUNNEL, 0);
        return;
    }
    bool open_end = response->body == BODY_CHUNKED || response->body == BODY_CLOSE;
    client->chunked = open_end && exchange->head.minor == 1;
    client->unsized = open_end && !client->chunked;
    if (client->chunked)
        head_add(writer, "Transfer-Encoding: chunked\r\n", 28);
    if (client->unsized)
        client->keep = false;
    if (!response->head && response->status != 204 && response->status != 304) {
        head_add(writer, "Content-Length: ", 16);
        head_number(writer, response->length);
        head_add(writer, "\r\n", 2);
    }
}

static void connection(struct client *client, struct head_writer *writer)
{
    const struct exchange *exchange = client->exchange;
    struct proxy *proxy = client->worker->priv->proxy;
    if (!client->body.ended || atomic_load_explicit(&proxy->draining, memory_order_relaxed))
        client->keep = false;
    if (exchange->tunnel) {
        client->keep = false;
        head_puts(writer, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    } else if (!client->keep)
        head_add(writer, "Connection: close\r\n", 19);
    else if (exchange->head.minor == 0)
        head_add(writer, "Connection: keep-alive\r\n", 24);
}

static void respond(struct exchange *exchange, const struct response *response,
                    const struct piece *piece)
{
    struct client *client = exchange->downstream;
    struct head_writer writer = head_begin(client->worker);
    status_line(&writer, response);
    if (response->head)
        origin_fields(&writer, response);
    head_add(&writer, response->lines.base, response->lines.len);
    framing(client, &writer, response);
    connection(client, &writer);
    if (!response->head || !response->head->seen[NAME_DATE]) {
        h2o_iovec_t date = worker_date(client->worker);
        head_add(&writer, date.base, date.len);
    }
    if (exchange->id_text) {
        head_add(&writer, "X-Request-Id: ", 14);
        head_puts(&writer, exchange->id_text);
        head_add(&writer, "\r\n", 2);
    }
    head_added(&writer, exchange->response_headers);
    head_add(&writer, "\r\n", 2);
    if (writer.overflow) {
        client->cut = true;
        return;
    }
    struct frame frame = {.count = 0};
    frame_add(&frame, writer.start, (size_t)(writer.at - writer.start));
    frame_piece(&frame, piece, client->chunked);
    frame_flatten(&frame, &writer);
    client_write(client, frame.iov, frame.count);
}

static void interim(struct exchange *exchange, const struct response *response)
{
    struct client *client = exchange->downstream;
    if (exchange->head.minor == 0)
        return;
    struct head_writer writer = head_begin(client->worker);
    status_line(&writer, response);
    if (response->head)
        origin_fields(&writer, response);
    head_add(&writer, "\r\n", 2);
    if (writer.overflow)
        return;
    struct iovec iov = {writer.start, (size_t)(writer.at - writer.start)};
    client_write(client, &iov, 1);
}

static void body(struct exchange *exchange, const struct piece *piece)
{
    struct client *client = exchange->downstream;
    struct frame frame = {.count = 0};
    if (piece->len && !piece->data) {
        write_pipe(client);
        return;
    }
    frame_piece(&frame, piece, client->chunked);
    client_write(client, frame.iov, frame.count);
}

static struct splice_pipe *pipe_of(struct exchange *exchange)
{
    struct client *client = exchange->downstream;
    bool clear = !client->io.tls && !client->broken && client_waiting(client) == 0;
    return clear && !client->chunked ? &client->pipe : NULL;
}

static bool full(struct exchange *exchange)
{
    const struct client *client = exchange->downstream;
    return client->pipe.held || client->out.len > OUT_HIGH;
}

/* The end of a body without a size is the end of the connection: only a reset tells the client that
 * it was not the whole. */
static void cut(struct exchange *exchange)
{
    struct client *client = exchange->downstream;
    client->cut = true;
    if (client->unsized)
        setsockopt(client->io.fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                   sizeof(struct linger));
}

static void done(struct exchange *exchange)
{
    client_exchange_done(exchange->downstream);
}

const struct downstream_ops client_ops = {.interim = interim,
                                          .respond = respond,
                                          .body = body,
                                          .pipe = pipe_of,
                                          .full = full,
                                          .pull = client_pull,
                                          .cut = cut,
                                          .done = done};
