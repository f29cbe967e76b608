/* Two hash tables: host to number, and (number of the host, prefix) to route. A path's prefixes are
 * hashed in one pass over it and tried from the longest that any route has. */
#include "services/proxy/route.h"

#include "services/proxy/stats.h"

#include "libcommon/mem.h"
#include "services/proxy/config.h"
#include "services/proxy/path.h"
#include "services/proxy/pool.h"

#include <string.h>

#define DEPTH_MAX 64 /* segments of a prefix */
#define ANY_HOST  0

struct host_entry {
    h2o_iovec_t name;
    bool suffix;     /* name is what follows the asterisk, with its dot */
    uint32_t number; /* from 1 */
};

struct route_table {
    struct route *routes;
    size_t count;
    struct host_entry *hosts;
    size_t host_count;
    uint32_t *host_slots;   /* index + 1 into hosts, 0: free */
    uint32_t *prefix_slots; /* index + 1 into routes, 0: free */
    uint32_t *route_hosts;  /* number of each route's host */
    size_t slot_mask;       /* of both */
    size_t depth;           /* segments of the longest prefix */
    uint64_t seed;
};

static uint64_t hash_step(uint64_t hash, char c)
{
    return (hash ^ (unsigned char)c) * 0x100000001b3ULL;
}

static uint64_t hash_finish(uint64_t hash, uint32_t salt)
{
    hash ^= (uint64_t)salt * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93ULL;
    return hash ^ hash >> 32;
}

static uint64_t hash_text(const struct route_table *table, h2o_iovec_t text)
{
    uint64_t hash = table->seed;
    for (size_t i = 0; i < text.len; i++)
        hash = hash_step(hash, text.base[i]);
    return hash;
}

static bool same(h2o_iovec_t a, h2o_iovec_t b)
{
    return a.len == b.len && memcmp(a.base, b.base, a.len) == 0;
}

static uint32_t find_host(const struct route_table *table, h2o_iovec_t name, bool suffix)
{
    size_t slot = hash_finish(hash_text(table, name), suffix) & table->slot_mask;
    for (; table->host_slots[slot]; slot = (slot + 1) & table->slot_mask) {
        const struct host_entry *host = &table->hosts[table->host_slots[slot] - 1];
        if (host->suffix == suffix && same(host->name, name))
            return host->number;
    }
    return 0;
}

/* `hash` is hash_text of the prefix. */
static const struct route *find_prefix(const struct route_table *table, uint32_t host,
                                       h2o_iovec_t prefix, uint64_t hash)
{
    size_t slot = hash_finish(hash, host) & table->slot_mask;
    for (; table->prefix_slots[slot]; slot = (slot + 1) & table->slot_mask) {
        uint32_t index = table->prefix_slots[slot] - 1;
        if (table->route_hosts[index] == host && same(table->routes[index].prefix, prefix))
            return &table->routes[index];
    }
    return NULL;
}

struct prefixes {
    size_t count;
    size_t ends[DEPTH_MAX + 1];
    uint64_t hashes[DEPTH_MAX + 1];
};

/* The path's prefixes at segment boundaries, shortest first, no deeper than any route's. */
static void cut(const struct route_table *table, h2o_iovec_t path, struct prefixes *out)
{
    uint64_t hash = table->seed;
    out->count = 0;
    for (size_t i = 0; i <= path.len; i++) {
        if (i == path.len || path.base[i] == '/') {
            out->ends[out->count] = i;
            out->hashes[out->count] = hash;
            if (out->count++ == table->depth)
                return;
        }
        if (i < path.len)
            hash = hash_step(hash, path.base[i]);
    }
}

static const struct route *match_host(const struct route_table *table, uint32_t host,
                                      h2o_iovec_t path, const struct prefixes *prefixes)
{
    for (size_t i = prefixes->count; i > 0; i--) {
        h2o_iovec_t prefix = h2o_iovec_init(path.base, prefixes->ends[i - 1]);
        const struct route *route = find_prefix(table, host, prefix, prefixes->hashes[i - 1]);
        if (route)
            return route;
    }
    return NULL;
}

const struct route *route_match(const struct route_table *table, h2o_iovec_t host, h2o_iovec_t path)
{
    struct prefixes prefixes;
    const struct route *route = NULL;
    cut(table, path, &prefixes);
    if (table->host_count) {
        uint32_t number = find_host(table, host, false);
        if (number)
            route = match_host(table, number, path, &prefixes);
        for (size_t i = 1; !route && i < host.len; i++) {
            if (host.base[i] != '.')
                continue;
            number = find_host(table, h2o_iovec_init(host.base + i, host.len - i), true);
            if (number)
                route = match_host(table, number, path, &prefixes);
        }
    }
    return route ? route : match_host(table, ANY_HOST, path, &prefixes);
}

void route_path(const struct route *route, h2o_iovec_t path, h2o_iovec_t parts[2])
{
    parts[0] = h2o_iovec_init("", 0);
    parts[1] = path;
    if (!route->prefix_replaced || path.base[0] != '/')
        return;
    parts[0] = route->replacement;
    parts[1] = h2o_iovec_init(path.base + route->prefix.len, path.len - route->prefix.len);
    if (parts[0].len + parts[1].len == 0)
        parts[1] = h2o_iovec_init("/", 1);
}

static int add_host(struct route_table *table, const char *text, uint32_t *number, struct err *err)
{
    bool suffix = strncmp(text, "*.", 2) == 0;
    h2o_iovec_t in = h2o_iovec_init(text + 2 * suffix, strlen(text + 2 * suffix));
    char *name = mem_alloc(in.len + 2);
    size_t len;
    struct host_entry *host = &table->hosts[table->host_count];
    host->name = h2o_iovec_init(name, 0);
    name[0] = '.';
    if (memchr(in.base, ':', in.len) || host_normalize(in, name + suffix, &len)) {
        free(name);
        return err_set(err, "host %s is not a host name, nor *. and one", text);
    }
    host->name.len = len + suffix;
    host->suffix = suffix;
    *number = find_host(table, host->name, suffix);
    if (*number) {
        free(name);
        return 0;
    }
    size_t slot = hash_finish(hash_text(table, host->name), suffix) & table->slot_mask;
    while (table->host_slots[slot])
        slot = (slot + 1) & table->slot_mask;
    table->host_slots[slot] = (uint32_t)++table->host_count;
    *number = host->number = (uint32_t)table->host_count;
    return 0;
}

static int set_prefix(struct route_table *table, struct route *route, const char *path,
                      struct err *err)
{
    char *prefix = mem_alloc(strlen(path) + 1);
    size_t len, depth = 0;
    route->prefix = h2o_iovec_init(prefix, 0);
    for (const char *c = path; *c; c++)
        if (*c <= 0x20 || *c >= 0x7f || *c == '?' || *c == '#')
            return err_set(err, "path %s holds a character that a path cannot have", path);
    const char *why = path_normalize(h2o_iovec_init(path, strlen(path)), prefix, &len);
    if (why)
        return err_set(err, "path %s: %s", path, why);
    route->prefix.len = prefix[len - 1] == '/' ? len - 1 : len;
    for (size_t i = 0; i < route->prefix.len; i++)
        depth += prefix[i] == '/';
    if (depth > DEPTH_MAX)
        return err_set(err, "path %s has more than %d segments", path, DEPTH_MAX);
    if (depth > table->depth)
        table->depth = depth;
    return 0;
}

static void set_redirect(struct route *route, const struct redirect_config *config)
{
    if (!config)
        return;
    const char *authority = strstr(config->to, "://");
    size_t len = strlen(config->to);
    route->redirect.to = h2o_iovec_init(config->to, len);
    route->redirect.status = (unsigned)config->status;
    route->redirect.append = authority && !strpbrk(authority + 3, "/?#");
}

static int64_t either(int64_t own, int64_t general)
{
    return own ? own : general;
}

/* What the route's pool says about time and attempts, with the route's own words before it. */
static void set_upstream(struct route *route, const struct route_config *config, int64_t request_ms)
{
    const struct route_timeouts_config *own = &config->timeouts;
    route->request_ms = either(own->request, request_ms);
    route->attempts = config->retry ? config->retry->attempts : 0;
    if (!route->pool)
        return;
    route->timeouts = route->pool->timeouts;
    route->timeouts.connect = either(own->connect, route->timeouts.connect);
    route->timeouts.response_head = either(own->response_head, route->timeouts.response_head);
    route->timeouts.body_idle = either(own->body_idle, route->timeouts.body_idle);
}

static h2o_iovec_t slice(const char *text)
{
    union {
        const char *in;
        char *out;
    } value = {.in = text};

    return h2o_iovec_init(value.out, strlen(text));
}

static int set_respond(struct route *route, const struct respond_config *config, struct err *err)
{
    if (!config)
        return 0;
    bool empty = config->status == 204 || config->status == 205 || config->status == 304;
    if (empty && config->body[0])
        return err_set(err, "respond: an answer with status %lld has no body",
                       (long long)config->status);
    if (!header_value_valid(config->content_type))
        return err_set(err, "respond.content_type holds a control character or outer blanks");
    route->respond.status = (unsigned)config->status;
    route->respond.body = slice(config->body);
    if (!empty && config->content_type[0]) {
        char *lines = mem_printf("Content-Type: %s\r\n", config->content_type);
        route->respond.lines = h2o_iovec_init(lines, strlen(lines));
    }
    return 0;
}

static int set_host_rewrite(struct route *route, const char *text, struct err *err)
{
    char normal[256];
    size_t len;
    route->host_rewrite = strcmp(text, "false") != 0;
    if (!route->host_rewrite || strcmp(text, "true") == 0)
        return 0;
    route->host = slice(text);
    if (host_normalize(route->host, normal, &len))
        return err_set(err, "host_rewrite is true, false or a host, not %s", text);
    return 0;
}

/* What the route changes in messages and says by itself. */
static int set_words(struct route *route, const struct route_config *config, struct err *err)
{
    route->prefix_replaced = config->strip_prefix || config->prefix_rewrite[0];
    route->replacement = slice(config->prefix_rewrite);
    if (route->replacement.len && config->prefix_rewrite[route->replacement.len - 1] == '/')
        route->replacement.len--;
    route->https_only = config->https_only;
    route->security_headers = config->security_headers;
    if (set_host_rewrite(route, config->host_rewrite, err) ||
        set_respond(route, config->respond, err))
        return -1;
    if (header_edit_new(&config->request_headers, HEADER_REQUEST, &route->request_edit, err))
        return err_wrap(err, "request_headers");
    if (header_edit_new(&config->response_headers, HEADER_RESPONSE, &route->response_edit, err))
        return err_wrap(err, "response_headers");
    route->graphql = config->graphql;
    route->access_token_query = config->access_token_query;
    if (config->cors && cors_new(config->cors, &route->cors, err))
        return -1;
    route->dressed = route->security_headers || route->cors || route->response_edit.dropped_count;
    return 0;
}

static int add_route(struct route_table *table, const struct route_config *config,
                     const struct proxy_config *general, const struct pool_set *pools,
                     struct err *err)
{
    struct route *route = &table->routes[table->count];
    uint32_t *host = &table->route_hosts[table->count];
    route->index = (unsigned)table->count++;
    route->name = mem_printf("%s%s", config->host, config->path);
    route->label = stats_label(STATS_ROUTE, route->name);
    route->access = (enum route_access)config->access;
    route->service = config->service[0] ? config->service : NULL;
    route->protocols = config->protocol_set;
    route->body_bytes = config->limits ? config->limits->body_bytes : general->limits.body_bytes;
    route->rate_per_ip = config->rate_per_ip;
    route->burst_per_ip = config->burst_per_ip;
    route->scope = hash_text(table, slice(route->name)) | 1;
    set_redirect(route, config->redirect);
    if (set_words(route, config, err))
        return -1;
    if (config->pool[0] && !(route->pool = pool_set_find(pools, config->pool)))
        return err_set(err, "there is no pool %s", config->pool);
    set_upstream(route, config, general->timeouts.request);
    if (config->host[0] && add_host(table, config->host, host, err))
        return -1;
    if (set_prefix(table, route, config->path, err))
        return -1;
    uint64_t hash = hash_text(table, route->prefix);
    if (find_prefix(table, *host, route->prefix, hash))
        return err_set(err, "%s is there twice", route->name);
    size_t slot = hash_finish(hash, *host) & table->slot_mask;
    while (table->prefix_slots[slot])
        slot = (slot + 1) & table->slot_mask;
    table->prefix_slots[slot] = (uint32_t)table->count;
    return 0;
}

int route_table_new(const struct proxy_config *config, const struct pool_set *pools,
                    struct route_table **out, struct err *err)
{
    const struct route_config *routes = config->routes.items;
    struct route_table *table = mem_zalloc(sizeof(*table));
    size_t slots = 16;
    while (slots < config->routes.count * 2)
        slots *= 2;
    table->slot_mask = slots - 1;
    table->seed = 0xcbf29ce484222325ULL;
    table->routes = mem_array(config->routes.count + 1, sizeof(*table->routes));
    table->route_hosts = mem_array(config->routes.count + 1, sizeof(*table->route_hosts));
    table->hosts = mem_array(config->routes.count + 1, sizeof(*table->hosts));
    table->host_slots = mem_array(slots, sizeof(*table->host_slots));
    table->prefix_slots = mem_array(slots, sizeof(*table->prefix_slots));
    for (size_t i = 0; i < config->routes.count; i++) {
        if (add_route(table, &routes[i], config, pools, err)) {
            route_table_free(&table);
            return err_wrap(err, "route %zu", i + 1);
        }
    }
    *out = table;
    return 0;
}

static void free_route(struct route *route)
{
    union {
        const char *name;
        char *owned;
    } name = {.name = route->name};

    free(name.owned);
    free(route->prefix.base);
    free(route->respond.lines.base);
    header_edit_free(&route->request_edit);
    header_edit_free(&route->response_edit);
    cors_free(&route->cors);
}

void route_table_free(struct route_table **table)
{
    if (!*table)
        return;
    for (size_t i = 0; i < (*table)->count; i++)
        free_route(&(*table)->routes[i]);
    for (size_t i = 0; i < (*table)->host_count; i++)
        free((*table)->hosts[i].name.base);
    free((*table)->routes);
    free((*table)->route_hosts);
    free((*table)->hosts);
    free((*table)->host_slots);
    free((*table)->prefix_slots);
    free(*table);
    *table = NULL;
}
