/* Lists of headers are taken apart once, here; what is offered to the origin is put together anew.
 */
#include "services/proxy/handshake.h"

#include "services/proxy/config.h"

#include <string.h>

static const char bearer[] = "octroi.bearer.";

static char *text(const char *literal)
{
    union {
        const char *in;
        char *out;
    } u = {.in = literal};

    return u.out;
}

static bool lists(const struct http1_head *head, enum http1_name name, const char *token)
{
    for (size_t i = 0; head->seen[name] && i < head->count; i++)
        if (head->fields[i].id == name &&
            http1_list_has(http1_value(head, &head->fields[i]), token))
            return true;
    return false;
}

static bool named(const struct http1_head *head, const struct http1_field *field, const char *name)
{
    size_t len = strlen(name);
    return field->name_len == len && strncasecmp(head->base + field->name, name, len) == 0;
}

/* The one field of this name; *count says how many there are. */
static h2o_iovec_t single(const struct http1_head *head, const char *name, size_t *count)
{
    h2o_iovec_t value = {NULL, 0};
    *count = 0;
    for (size_t i = 0; i < head->count; i++) {
        if (!named(head, &head->fields[i], name))
            continue;
        if ((*count)++ == 0)
            value = http1_value(head, &head->fields[i]);
    }
    return value;
}

/* Takes the next element off a list; false at its end. */
static bool next_element(h2o_iovec_t *list, h2o_iovec_t *element)
{
    while (list->len && strchr(", \t", list->base[0])) {
        list->base++;
        list->len--;
    }
    if (list->len == 0)
        return false;
    const char *comma = memchr(list->base, ',', list->len);
    size_t len = comma ? (size_t)(comma - list->base) : list->len;
    *element = h2o_iovec_init(list->base, len);
    list->base += len;
    list->len -= len;
    while (strchr(" \t", element->base[element->len - 1]))
        element->len--;
    return true;
}

/* Puts it behind what is offered already. The room is made once: an element and its comma in the
 * head become an element, a comma and a blank at most. */
static void offer(struct exchange *exchange, h2o_iovec_t *list, h2o_iovec_t element)
{
    if (list->base) {
        memcpy(list->base + list->len, ", ", 2);
        list->len += 2;
    } else {
        list->base = h2o_mem_alloc_pool(&exchange->request.pool, exchange->head.len * 2);
    }
    memcpy(list->base + list->len, element.base, element.len);
    list->len += element.len;
}

static void take_protocol(struct exchange *exchange, h2o_iovec_t element)
{
    struct handshake *handshake = exchange->handshake;
    size_t prefix = sizeof(bearer) - 1;
    if (element.len >= prefix && memcmp(element.base, bearer, prefix) == 0) {
        handshake->tokens = handshake->token.base != NULL;
        handshake->token = h2o_iovec_init(element.base + prefix, element.len - prefix);
    } else if (h2o_memis(element.base, element.len, H2O_STRLIT("octroi.v1"))) {
        handshake->octroi = true;
    } else {
        offer(exchange, &handshake->protocols, element);
    }
}

/* Extensions that are not known here could change what a frame is. */
static void take_extension(struct exchange *exchange, h2o_iovec_t *list, h2o_iovec_t element)
{
    static const char deflate[] = "permessage-deflate";
    size_t len = sizeof(deflate) - 1;
    if (element.len < len || strncasecmp(element.base, deflate, len) != 0 ||
        (element.len > len && !strchr("; \t", element.base[len])))
        return;
    exchange->handshake->offered_deflate = true;
    offer(exchange, list, element);
}

static void take_lists(struct exchange *exchange)
{
    const struct http1_head *head = &exchange->head;
    struct request *request = &exchange->request;
    h2o_iovec_t extensions = {NULL, 0}, element;
    for (size_t i = 0; i < head->count; i++) {
        h2o_iovec_t list = http1_value(head, &head->fields[i]);
        if (named(head, &head->fields[i], "sec-websocket-protocol"))
            while (next_element(&list, &element))
                take_protocol(exchange, element);
        else if (named(head, &head->fields[i], "sec-websocket-extensions"))
            while (next_element(&list, &element))
                take_extension(exchange, &extensions, element);
    }
    request_drop_header(request, "sec-websocket-protocol");
    request_drop_header(request, "sec-websocket-extensions");
    if (exchange->handshake->protocols.len)
        request_add_upstream_header(request, "Sec-WebSocket-Protocol",
                                    exchange->handshake->protocols);
    if (extensions.len)
        request_add_upstream_header(request, "Sec-WebSocket-Extensions", extensions);
}

static int refuse(struct exchange *exchange, enum problem problem, const char *detail)
{
    struct request *request = &exchange->request;
    if (problem == PROBLEM_UPGRADE_REQUIRED) {
        request_add_response_header(request, "Upgrade", h2o_iovec_init(text("websocket"), 9));
        request_add_response_header(request, "Sec-WebSocket-Version",
                                    h2o_iovec_init(text("13"), 2));
    }
    if (problem == PROBLEM_METHOD_NOT_ALLOWED)
        request_add_response_header(request, "Allow", h2o_iovec_init(text("GET"), 3));
    request_refuse(request, problem, "%s", detail);
    return -1;
}

static int check_request(struct exchange *exchange, h2o_iovec_t *key)
{
    const struct http1_head *head = &exchange->head;
    size_t count;
    if (!h2o_memis(exchange->method.base, exchange->method.len, H2O_STRLIT("GET")))
        return refuse(exchange, PROBLEM_METHOD_NOT_ALLOWED, "a WebSocket begins with GET");
    if (head->minor == 0)
        return refuse(exchange, PROBLEM_BAD_REQUEST, "a WebSocket needs HTTP/1.1");
    if (exchange->body != BODY_NONE)
        return refuse(exchange, PROBLEM_BAD_REQUEST, "a WebSocket's request has no body");
    if (!lists(head, NAME_CONNECTION, "upgrade"))
        return refuse(exchange, PROBLEM_BAD_REQUEST, "Connection does not name Upgrade");
    h2o_iovec_t version = single(head, "sec-websocket-version", &count);
    if (count != 1 || !h2o_memis(version.base, version.len, H2O_STRLIT("13")))
        return refuse(exchange, PROBLEM_UPGRADE_REQUIRED, "Sec-WebSocket-Version is not 13");
    *key = single(head, "sec-websocket-key", &count);
    if (count != 1 || !websocket_key_valid(key->base, key->len))
        return refuse(exchange, PROBLEM_BAD_REQUEST,
                      "Sec-WebSocket-Key is not 16 bytes in base64, once");
    return 0;
}

/* HTTP/1.1 lets a server pass over an Upgrade; an extended CONNECT that is answered well is a
 * WebSocket (RFC 8441 section 5), and nothing else could have brought Upgrade over HTTP/2. */
static int refuse_connect(struct exchange *exchange)
{
    if (!exchange->http2 || !lists(&exchange->head, NAME_UPGRADE, "websocket"))
        return 0;
    return refuse(exchange, PROBLEM_NOT_IMPLEMENTED, "no WebSocket is served here");
}

int handshake_begin(struct exchange *exchange)
{
    unsigned protocols = exchange->request.route->protocols;
    h2o_iovec_t key;
    if (!(protocols & PROTOCOL_WEBSOCKET))
        return refuse_connect(exchange);
    if (!lists(&exchange->head, NAME_UPGRADE, "websocket")) {
        if (protocols != PROTOCOL_WEBSOCKET)
            return 0;
        return refuse(exchange, PROBLEM_UPGRADE_REQUIRED, "only WebSockets are served here");
    }
    if (check_request(exchange, &key))
        return -1;
    exchange->handshake = h2o_mem_alloc_pool(&exchange->request.pool, sizeof(*exchange->handshake));
    memset(exchange->handshake, 0, sizeof(*exchange->handshake));
    memcpy(exchange->handshake->key, key.base, WEBSOCKET_KEY_LEN);
    take_lists(exchange);
    return 0;
}

static bool offered(const struct handshake *handshake, h2o_iovec_t protocol)
{
    h2o_iovec_t list = handshake->protocols, element;
    while (next_element(&list, &element))
        if (h2o_memis(element.base, element.len, protocol.base, protocol.len))
            return true;
    return false;
}

static const char *check_protocol(struct exchange *exchange, const struct http1_head *head)
{
    size_t count;
    h2o_iovec_t protocol = single(head, "sec-websocket-protocol", &count);
    if (count > 1 || (count == 1 && !offered(exchange->handshake, protocol)))
        return "the origin chose a subprotocol that was not offered";
    if (count == 0 && exchange->handshake->octroi)
        request_add_response_header(&exchange->request, "Sec-WebSocket-Protocol",
                                    h2o_iovec_init(text("octroi.v1"), 9));
    return NULL;
}

static const char *check_extensions(struct handshake *handshake, const struct http1_head *head)
{
    static const char deflate[] = "permessage-deflate";
    size_t count, len = sizeof(deflate) - 1;
    h2o_iovec_t list = single(head, "sec-websocket-extensions", &count), element;
    if (count == 0)
        return NULL;
    bool any = next_element(&list, &element);
    if (count > 1 || !any || !handshake->offered_deflate || element.len < len ||
        strncasecmp(element.base, deflate, len) != 0 ||
        (element.len > len && !strchr("; \t", element.base[len])) || next_element(&list, &element))
        return "the origin chose an extension that was not offered";
    handshake->deflate = true;
    return NULL;
}

const char *handshake_accepts(struct exchange *exchange, const struct http1_head *head)
{
    char expected[WEBSOCKET_ACCEPT_LEN];
    size_t count;
    if (!exchange->handshake)
        return "the protocol was switched without having been asked";
    if (!lists(head, NAME_UPGRADE, "websocket") || !lists(head, NAME_CONNECTION, "upgrade"))
        return "the protocol was switched to another than was asked for";
    if (head->seen[NAME_TRANSFER_ENCODING] || head->content_length)
        return "the switch of the protocol has a body";
    h2o_iovec_t accept = single(head, "sec-websocket-accept", &count);
    websocket_accept(exchange->handshake->key, expected);
    if (count != 1 || !h2o_memis(accept.base, accept.len, expected, sizeof(expected)))
        return "Sec-WebSocket-Accept is not the answer to the key";
    const char *why = check_protocol(exchange, head);
    return why ? why : check_extensions(exchange->handshake, head);
}
