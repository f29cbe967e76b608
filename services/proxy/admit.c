/* The room at the gate: refuses what is malformed or too much, and settles who asks (the client's
 * address, the request's id) and for what (host and path in normal form). */
#include "services/proxy/exchange.h"
#include "services/proxy/forwarded.h"
#include "services/proxy/memory_guard.h"
#include "services/proxy/path.h"

#include <string.h>

#define REQUEST_ID_MAX 128

static void make_id(struct exchange *exchange)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t word = 0; word < 2; word++) {
        uint64_t random = worker_random(exchange->request.worker);
        for (size_t i = 0; i < 16; i++, random >>= 4)
            exchange->id[word * 16 + i] = digits[random & 15];
    }
    exchange->id_text = exchange->id;
}

/* A trusted proxy's id is kept. */
static void take_id(struct exchange *exchange)
{
    const struct http1_field *field = http1_find(&exchange->head, NAME_X_REQUEST_ID);
    if (!field || !exchange->trusted || field->value_len > REQUEST_ID_MAX)
        return;
    h2o_iovec_t value = http1_value(&exchange->head, field);
    if (!http1_is_token(value.base, value.len))
        return;
    char *copy = h2o_mem_alloc_pool(&exchange->request.pool, value.len + 1);
    memcpy(copy, value.base, value.len);
    copy[value.len] = '\0';
    exchange->id_text = copy;
}

/* Takes the last element off a list, with the blanks around it. */
static h2o_iovec_t take_last(h2o_iovec_t *list)
{
    const char *comma = memrchr(list->base, ',', list->len);
    size_t start = comma ? (size_t)(comma - list->base) + 1 : 0;
    h2o_iovec_t last = h2o_iovec_init(list->base + start, list->len - start);
    list->len = comma ? start - 1 : 0;
    while (last.len > 0 && (last.base[0] == ' ' || last.base[0] == '\t'))
        last = h2o_iovec_init(last.base + 1, last.len - 1);
    while (last.len > 0 && (last.base[last.len - 1] == ' ' || last.base[last.len - 1] == '\t'))
        last.len--;
    return last;
}

/* The rightmost address that is not a trusted proxy's. */
static void find_client(struct exchange *exchange)
{
    const struct cidr_list *trusted = &exchange->generation->trusted;
    for (size_t i = exchange->head.count; i > 0; i--) {
        const struct http1_field *field = &exchange->head.fields[i - 1];
        if (field->id != NAME_X_FORWARDED_FOR)
            continue;
        h2o_iovec_t list = http1_value(&exchange->head, field);
        while (list.len > 0) {
            h2o_iovec_t last = take_last(&list);
            struct address address;
            if (last.len == 0)
                continue; /* RFC 9110, section 5.6.1.2 */
            if (address_parse(last, &address))
                return;
            exchange->client = address;
            if (!cidr_contains(trusted, &address))
                return;
        }
    }
}

/* The same of Forwarded, where no X-Forwarded-For is there. One that is malformed says nothing, and
 * goes no further: what we add behind it would be read as a part of it. */
static void find_forwarded(struct exchange *exchange)
{
    const struct cidr_list *trusted = &exchange->generation->trusted;
    const struct http1_head *head = &exchange->head;
    struct address client;
    bool known = false;
    for (size_t i = 0; i < head->count; i++) {
        const struct http1_field *field = &head->fields[i];
        if (field->id != NAME_FORWARDED)
            continue;
        if (forwarded_client(http1_value(head, field), trusted, &known, &client)) {
            exchange->forwarded_broken = true;
            return;
        }
    }
    if (known && !head->seen[NAME_X_FORWARDED_FOR])
        exchange->client = client;
}

/* One word of a trusted proxy; a list of them could be a client's. */
static bool secure_before(const struct exchange *exchange)
{
    const struct http1_head *head = &exchange->head;
    if (!exchange->trusted || head->seen[NAME_X_FORWARDED_PROTO] != 1)
        return false;
    h2o_iovec_t value = http1_value(head, http1_find(head, NAME_X_FORWARDED_PROTO));
    return h2o_lcstris(value.base, value.len, "https", 5);
}

static enum room_result malformed(struct exchange *exchange, const char *detail)
{
    request_refuse(&exchange->request, PROBLEM_BAD_REQUEST, "%s", detail);
    return ROOM_REJECT;
}

/* scheme "://" authority, which becomes *authority; *target is what follows. */
static const char *split_absolute(h2o_iovec_t *target, h2o_iovec_t *authority, unsigned *port)
{
    size_t skip = 0;
    if (target->len > 7 && strncasecmp(target->base, "http://", 7) == 0)
        skip = 7;
    else if (target->len > 8 && strncasecmp(target->base, "https://", 8) == 0)
        skip = 8;
    if (!skip)
        return "the request target has no form that is served here";
    *port = skip == 7 ? 80 : 443;
    size_t end = skip;
    while (end < target->len && target->base[end] != '/' && target->base[end] != '?')
        end++;
    *authority = h2o_iovec_init(target->base + skip, end - skip);
    *target = h2o_iovec_init(target->base + end, target->len - end);
    return NULL;
}

static unsigned port_or(h2o_iovec_t authority, unsigned otherwise)
{
    unsigned port = host_port(authority);
    return port ? port : otherwise;
}

/* `authority` and its scheme's port are those of a target in absolute form. */
static const char *set_host(struct exchange *exchange, h2o_iovec_t authority, unsigned port)
{
    h2o_mem_pool_t *pool = &exchange->request.pool;
    const struct http1_field *field = http1_find(&exchange->head, NAME_HOST);
    exchange->host = h2o_iovec_init("", 0);
    if (field) {
        h2o_iovec_t value = http1_value(&exchange->head, field);
        exchange->host.base = h2o_mem_alloc_pool(pool, value.len);
        if (host_normalize(value, exchange->host.base, &exchange->host.len))
            return "Host is malformed";
    }
    if (!authority.base)
        return NULL;
    char *other = h2o_mem_alloc_pool(pool, authority.len);
    size_t len;
    if (host_normalize(authority, other, &len))
        return "the target's authority is malformed";
    if (field && (!h2o_memis(other, len, exchange->host.base, exchange->host.len) ||
                  port_or(authority, port) != port_or(http1_value(&exchange->head, field), port)))
        return "the target's authority and Host disagree";
    exchange->host = h2o_iovec_init(other, len);
    return NULL;
}

static const char *set_path(struct exchange *exchange, h2o_iovec_t target)
{
    char *mark = memchr(target.base, '?', target.len);
    size_t len = mark ? (size_t)(mark - target.base) : target.len;
    exchange->query = h2o_iovec_init(target.base + len, target.len - len);
    h2o_iovec_t path = len ? h2o_iovec_init(target.base, len) : h2o_iovec_init("/", 1);
    if (path_is_normal(path)) {
        exchange->path = path;
        return NULL;
    }
    char *normal = h2o_mem_alloc_pool(&exchange->request.pool, path.len);
    const char *why = path_normalize(path, normal, &len);
    if (!why)
        exchange->path = h2o_iovec_init(normal, len);
    return why;
}

static const char *set_target(struct exchange *exchange)
{
    h2o_iovec_t target = http1_slice(&exchange->head, exchange->head.target);
    h2o_iovec_t authority = {NULL, 0};
    unsigned port = 0;
    bool options = h2o_memis(exchange->method.base, exchange->method.len, "OPTIONS", 7);
    bool asterisk = target.len == 1 && target.base[0] == '*';
    const char *why = NULL;
    if (asterisk && !options)
        return "the target * is for OPTIONS only";
    if (!asterisk && target.base[0] != '/')
        why = split_absolute(&target, &authority, &port);
    if (!why)
        why = set_host(exchange, authority, port);
    if (why)
        return why;
    /* An absolute form with nothing behind its authority is the same (RFC 9112 section 3.2.4). */
    if (!asterisk && !(options && target.len == 0))
        return set_path(exchange, target);
    exchange->path = h2o_iovec_init("*", 1);
    exchange->query = h2o_iovec_init("", 0);
    return NULL;
}

/* What there is too much of; NULL: it may come in, and counts from here. */
static const char *overload(struct exchange *exchange)
{
    struct proxy *proxy = exchange->request.worker->priv->proxy;
    int64_t before = atomic_fetch_add_explicit(&proxy->in_flight, 1, memory_order_relaxed);
    exchange->admitted = true;
    if (before >= exchange->generation->config->limits.in_flight)
        return "too many requests are in flight";
    return memory_guard_level(proxy->memory) == MEMORY_FINE ? NULL : "memory is short";
}

static enum room_result enter(struct request *request)
{
    struct exchange *exchange = request->exchange;
    const struct cidr_list *trusted = &exchange->generation->trusted;
    make_id(exchange);
    exchange->client = exchange->peer->address;
    if (exchange->malformed.problem != PROBLEM_NONE) {
        request_refuse(request, exchange->malformed.problem,
                       exchange->malformed.detail ? "%s" : NULL, exchange->malformed.detail);
        return ROOM_REJECT;
    }
    if (trusted->count && cidr_contains(trusted, &exchange->peer->address)) {
        exchange->trusted = true;
        take_id(exchange);
        find_client(exchange);
        if (exchange->head.seen[NAME_FORWARDED])
            find_forwarded(exchange);
    }
    trace_begin(exchange);
    exchange->secure = exchange->tls || secure_before(exchange);
    const char *why = set_target(exchange);
    if (why)
        return malformed(exchange, why);
    if (h2o_memis(exchange->method.base, exchange->method.len, "CONNECT", 7) ||
        h2o_memis(exchange->method.base, exchange->method.len, "TRACE", 5)) {
        request_refuse(request, PROBLEM_METHOD_NOT_ALLOWED, NULL);
        return ROOM_REJECT;
    }
    why = overload(exchange);
    if (why) {
        request_refuse(request, PROBLEM_OVERLOADED, "%s", why);
        return ROOM_REJECT;
    }
    return ROOM_NEXT;
}

static void leave(struct request *request)
{
    if (request->exchange->admitted)
        atomic_fetch_sub_explicit(&request->worker->priv->proxy->in_flight, 1,
                                  memory_order_relaxed);
}

const struct room room_admit = {.name = "admit", .enter = enter, .leave = leave};
