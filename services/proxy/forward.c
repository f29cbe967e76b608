/* The head of a request as the origin sees it: what is hop by hop is gone, and who really asked is
 * said by us, or by a proxy that we trust. */
#include "services/proxy/exchange.h"

static void drop(struct exchange *exchange, enum http1_name name)
{
    struct http1_head *head = &exchange->head;
    for (size_t i = 0; head->seen[name] && i < head->count; i++)
        if (head->fields[i].id == name)
            head->fields[i].dropped = true;
}

static void drop_ours(struct exchange *exchange)
{
    const struct route *route = exchange->request.route;
    http1_drop_hop_by_hop(&exchange->head);
    drop(exchange, NAME_X_FORWARDED_FOR);
    drop(exchange, NAME_X_REQUEST_ID);
    trace_drop(exchange);
    drop(exchange, NAME_FORWARDED);
    drop(exchange, NAME_OCTROI_SUBSCRIPTION);
    drop(exchange, NAME_OCTROI_TIER);
    if (!exchange->trusted) {
        drop(exchange, NAME_X_FORWARDED_PROTO);
        drop(exchange, NAME_X_FORWARDED_HOST);
        drop(exchange, NAME_X_FORWARDED_OTHER);
    }
    if (exchange->head.minor == 0)
        drop(exchange, NAME_EXPECT);
    if (route->host_rewrite)
        drop(exchange, NAME_HOST);
    header_edit_drop(&route->request_edit, &exchange->head);
}

static void request_line(struct exchange *exchange, struct head_writer *writer)
{
    const struct route *route = exchange->request.route;
    h2o_iovec_t path[2];
    route_path(route, exchange->path, path);
    head_add(writer, exchange->method.base, exchange->method.len);
    head_add(writer, " ", 1);
    head_add(writer, path[0].base, path[0].len);
    head_add(writer, path[1].base, path[1].len);
    head_add(writer, exchange->query.base, exchange->query.len);
    head_add(writer, " HTTP/1.1\r\n", 11);
    if (route->host_rewrite)
        head_line(writer, "Host", route->host.len ? route->host : backend_host(exchange->backend));
    else if (!exchange->head.seen[NAME_HOST])
        head_line(writer, "Host",
                  exchange->host.len ? exchange->host : backend_host(exchange->backend));
}

/* What a trusted proxy said so far, each value followed by a comma. */
static void said_before(struct exchange *exchange, struct head_writer *writer, enum http1_name name)
{
    const struct http1_head *head = &exchange->head;
    if (!exchange->trusted || !head->seen[name] ||
        (name == NAME_FORWARDED && exchange->forwarded_broken))
        return;
    for (size_t i = 0; i < head->count; i++) {
        if (head->fields[i].id != name)
            continue;
        h2o_iovec_t value = http1_value(head, &head->fields[i]);
        head_add(writer, value.base, value.len);
        head_add(writer, ", ", 2);
    }
}

/* RFC 7239, section 6: a Unix socket's client has no address. */
static h2o_iovec_t peer_node(const struct peer *peer)
{
    union {
        const char *in;
        char *out;
    } text = {.in = peer->text};

    if (h2o_memis(peer->text, peer->text_len, H2O_STRLIT("unix")))
        return h2o_iovec_init(H2O_STRLIT("unknown"));
    return h2o_iovec_init(text.out, peer->text_len);
}

static void forwarded(struct exchange *exchange, struct head_writer *writer)
{
    bool v4 = address_is_v4(&exchange->peer->address);
    h2o_iovec_t peer = peer_node(exchange->peer);
    h2o_iovec_t host = {NULL, 0};
    if (exchange->head.seen[NAME_HOST])
        host = http1_value(&exchange->head, http1_find(&exchange->head, NAME_HOST));
    head_puts(writer, "X-Forwarded-For: ");
    said_before(exchange, writer, NAME_X_FORWARDED_FOR);
    head_add(writer, peer.base, peer.len);
    head_puts(writer, "\r\nForwarded: ");
    said_before(exchange, writer, NAME_FORWARDED);
    head_puts(writer, v4 ? "for=" : "for=\"[");
    head_add(writer, peer.base, peer.len);
    head_puts(writer, v4 ? ";proto=" : "]\";proto=");
    head_puts(writer, exchange->tls ? "https" : "http");
    if (host.len) {
        head_puts(writer, ";host=\"");
        head_add(writer, host.base, host.len);
        head_puts(writer, "\"");
    }
    head_puts(writer, "\r\n");
    if (!exchange->trusted || !exchange->head.seen[NAME_X_FORWARDED_PROTO])
        head_puts(writer,
                  exchange->tls ? "X-Forwarded-Proto: https\r\n" : "X-Forwarded-Proto: http\r\n");
    if (host.len && (!exchange->trusted || !exchange->head.seen[NAME_X_FORWARDED_HOST]))
        head_line(writer, "X-Forwarded-Host", host);
}

void forward_head(struct exchange *exchange, struct head_writer *writer)
{
    drop_ours(exchange);
    request_line(exchange, writer);
    head_fields(writer, &exchange->head);
    if (exchange->body == BODY_CHUNKED)
        head_puts(writer, "Transfer-Encoding: chunked\r\n");
    if (exchange->handshake)
        head_puts(writer, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    forwarded(exchange, writer);
    head_puts(writer, "X-Request-Id: ");
    head_puts(writer, exchange->id_text);
    head_puts(writer, "\r\n");
    head_added(writer, exchange->request.route->request_edit.added);
    trace_forward(exchange, writer);
    head_added(writer, exchange->upstream_headers);
    head_puts(writer, "\r\n");
}
