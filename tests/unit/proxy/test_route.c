/* Routing against a naive matcher, and its cost with many routes. */
#include "libcommon/buf.h"
#include "services/proxy/config.h"
#include "services/proxy/path.h"
#include "services/proxy/pool.h"
#include "services/proxy/registry.h"
#include "services/proxy/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct config *config;
    struct registry *registry;
    struct pool_set *pools;
    struct route_table *table;
};

static void load(struct fixture *fixture, const char *routes)
{
    struct err err;
    AUTO_BUF struct buf text = {.max = 0};
    buf_puts(&text, "listeners: [\"127.0.0.1:1\"]\npools: { p: { backends: "
                    "[\"http://127.0.0.1:1\"] } }\nroutes:\n");
    buf_puts(&text, routes);
    if (config_parse("test", text.data, text.len, &proxy_config_schema, &fixture->config, &err))
        fail_msg("%s", err.msg);
    const struct proxy_config *config = config_root(fixture->config);
    fixture->registry = registry_new();
    assert_int_equal(pool_set_new(config, fixture->registry, &fixture->pools, &err), 0);
    assert_int_equal(route_table_new(config, fixture->pools, &fixture->table, &err), 0);
}

static void unload(struct fixture *fixture)
{
    route_table_free(&fixture->table);
    pool_set_free(&fixture->pools);
    registry_free(&fixture->registry);
    config_free(&fixture->config);
}

static const struct route *match(const struct fixture *fixture, const char *host, const char *path)
{
    return route_match(fixture->table, h2o_iovec_init(host, strlen(host)),
                       h2o_iovec_init(path, strlen(path)));
}

static void no_route_is_no_route(void **state)
{
    struct fixture fixture;
    (void)state;
    load(&fixture, "  - { host: a.b, path: /x, pool: p }\n  - { path: /y/z, pool: p }\n");
    assert_null(match(&fixture, "a.b", "/"));
    assert_null(match(&fixture, "a.b", "/xx"));
    assert_null(match(&fixture, "c.b", "/x"));
    assert_null(match(&fixture, "", "/y"));
    assert_non_null(match(&fixture, "", "/y/z/"));
    assert_string_equal(match(&fixture, "a.b", "/x/1")->name, "a.b/x");
    assert_string_equal(match(&fixture, "a.b", "/y/z")->name, "/y/z");
    unload(&fixture);
}

static void a_prefix_is_replaced_at_its_boundary(void **state)
{
    static const struct {
        const char *from, *rule, *path, *seen;
    } cases[] = {
        {"/v1/", "prefix_rewrite: /api/v2/", "/v1/a/b", "/api/v2/a/b"},
        {"/v1", "prefix_rewrite: /api/v2", "/v1/a", "/api/v2/a"},
        {"/v1/", "prefix_rewrite: /api/v2", "/v1", "/api/v2"},
        {"/v1", "prefix_rewrite: /api/v2/", "/v1/", "/api/v2/"},
        {"/v1", "prefix_rewrite: /", "/v1", "/"},
        {"/v1", "prefix_rewrite: /", "/v1/", "/"},
        {"/v1", "prefix_rewrite: /", "/v1/a/", "/a/"},
        {"/", "prefix_rewrite: /api", "/", "/api/"},
        {"/", "prefix_rewrite: /api/", "/a", "/api/a"},
        {"/", "prefix_rewrite: /", "/a", "/a"},
        {"/", "prefix_rewrite: /api", "*", "*"},
        {"/v1", "strip_prefix: true", "/v1", "/"},
        {"/v1", "strip_prefix: true", "/v1/a", "/a"},
        {"/v1", "strip_prefix: false", "/v1/a", "/v1/a"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture fixture;
        AUTO_BUF struct buf text = {.max = 0}, seen = {.max = 0};
        h2o_iovec_t parts[2];
        buf_printf(&text, "  - { path: %s, pool: p, %s }\n", cases[i].from, cases[i].rule);
        load(&fixture, text.data);
        const char *asked = cases[i].path[0] == '*' ? "/" : cases[i].path;
        const struct route *route = match(&fixture, "", asked);
        assert_non_null(route);
        route_path(route, h2o_iovec_init(cases[i].path, strlen(cases[i].path)), parts);
        buf_printf(&seen, "%.*s%.*s", (int)parts[0].len, parts[0].base, (int)parts[1].len,
                   parts[1].base);
        assert_string_equal(seen.data, cases[i].seen);
        unload(&fixture);
    }
}

static const char *const hosts[] = {"", "a.com", "*.a.com", "b.a.com", "*.b.a.com", "*.com"};
static const char *const segments[] = {"v", "vv", "w"};

/* How well a pattern fits a host: 0 not at all, more is better. */
static size_t host_rank(const char *pattern, const char *host)
{
    size_t len = strlen(pattern), host_len = strlen(host);
    if (len == 0)
        return 1;
    if (pattern[0] != '*')
        return strcmp(pattern, host) == 0 ? 1000 : 0;
    if (host_len >= len && strcmp(host + host_len - (len - 1), pattern + 1) == 0)
        return len + 1;
    return 0;
}

static bool path_fits(const char *prefix, const char *path)
{
    size_t len = strlen(prefix);
    if (len == 1)
        return true;
    return strncmp(prefix, path, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static void random_path(char *out)
{
    size_t depth = (size_t)random() % 4;
    strcpy(out, depth ? "" : "/");
    for (size_t i = 0; i < depth; i++) {
        strcat(out, "/");
        strcat(out, segments[random() % ARRAY_LEN(segments)]);
    }
}

static void it_agrees_with_a_naive_matcher(void **state)
{
    static char route_paths[40][32];
    static const char *route_hosts[40];
    static const char *const asked[] = {"a.com", "b.a.com", "c.a.com", "x.b.a.com", "d.com", "e"};
    (void)state;
    srandom(7);
    for (int round = 0; round < 30; round++) {
        AUTO_BUF struct buf text = {.max = 0};
        size_t count = 0;
        for (int i = 0; i < 40; i++) {
            bool twice = false;
            route_hosts[count] = hosts[random() % ARRAY_LEN(hosts)];
            random_path(route_paths[count]);
            for (size_t j = 0; j < count; j++)
                twice = twice || (route_hosts[j] == route_hosts[count] &&
                                  strcmp(route_paths[j], route_paths[count]) == 0);
            if (twice)
                continue;
            buf_printf(&text, "  - { host: \"%s\", path: %s, pool: p }\n", route_hosts[count],
                       route_paths[count]);
            count++;
        }
        struct fixture fixture;
        load(&fixture, text.data);
        for (int i = 0; i < 300; i++) {
            const char *host = asked[random() % ARRAY_LEN(asked)];
            char path[40];
            random_path(path);
            size_t best = SIZE_MAX, best_rank = 0, best_len = 0;
            for (size_t j = 0; j < count; j++) {
                size_t rank = host_rank(route_hosts[j], host), len = strlen(route_paths[j]);
                if (rank == 0 || !path_fits(route_paths[j], path))
                    continue;
                if (rank > best_rank || (rank == best_rank && len > best_len)) {
                    best = j;
                    best_rank = rank;
                    best_len = len;
                }
            }
            const struct route *route = match(&fixture, host, path);
            assert_int_equal(route ? route->index : SIZE_MAX, best);
        }
        unload(&fixture);
    }
}

static void many_routes_are_found(void **state)
{
    struct fixture fixture;
    AUTO_BUF struct buf text = {.max = 0};
    (void)state;
    for (int i = 0; i < 10000; i++)
        buf_printf(&text, "  - { host: h%d.example.com, path: /a/b%d/, pool: p }\n", i % 100, i);
    load(&fixture, text.data);
    for (int i = 0; i < 10000; i++) {
        char host[32], path[32];
        snprintf(host, sizeof(host), "h%d.example.com", i % 100);
        snprintf(path, sizeof(path), "/a/b%d/c", i);
        const struct route *route = match(&fixture, host, path);
        assert_non_null(route);
        assert_int_equal(route->index, i);
        host[0] = 'x';
        assert_null(match(&fixture, host, path));
    }
    unload(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_route_is_no_route),
                                       cmocka_unit_test(a_prefix_is_replaced_at_its_boundary),
                                       cmocka_unit_test(it_agrees_with_a_naive_matcher),
                                       cmocka_unit_test(many_routes_are_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
