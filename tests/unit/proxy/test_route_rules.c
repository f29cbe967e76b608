/* What a route may say of headers, CORS, fixed answers and Host: what is refused when a
 * configuration is loaded, with words that name it, and what becomes of the rest. */
#include "libcommon/buf.h"
#include "services/proxy/config.h"
#include "services/proxy/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* The root schema's check compiles the routes too, as -t does. */
static int load(const char *route, struct config **config, struct err *err)
{
    AUTO_BUF struct buf text = {0};
    buf_printf(&text,
               "listeners: [\"127.0.0.1:1\"]\npools: { p: { backends: "
               "[\"http://127.0.0.1:1\"] } }\nroutes:\n  - { path: /, %s }\n",
               route);
    return config_parse("test", text.data, text.len, &proxy_config_schema, config, err);
}

static void what_cannot_be_is_refused(void **state)
{
    static const struct {
        const char *route, *says;
    } cases[] = {
        {"pool: p, cors: { origins: [\"*\"], credentials: true }", "cors.credentials"},
        {"pool: p, cors: { origins: [\"*\", \"https://a.b\"] }", "stands alone"},
        {"pool: p, cors: { origins: [\"https://A.b\"] }", "cors.origins: https://A.b"},
        {"pool: p, cors: { origins: [\"https://a.b/\"] }", "cors.origins: https://a.b/"},
        {"pool: p, cors: { origins: [\"https://*.b\"] }", "cors.origins"},
        {"pool: p, cors: { origins: [\"null\"] }", "cors.origins: null"},
        {"pool: p, cors: { origins: [\"a.b\"] }", "cors.origins: a.b"},
        {"pool: p, cors: { origins: [\"https://a\"], methods: [\"G T\"] }", "cors.methods"},
        {"pool: p, cors: { origins: [\"https://a\"], headers: [\"a\\r\\nb\"] }", "cors.headers"},
        {"pool: p, cors: { origins: [\"https://a\"], expose: [\"\"] }", "cors.expose"},
        {"pool: p, cors: { origins: [] }", "origins"},
        {"pool: p, request_headers: { set: { \"a b\": c } }", "a b is not a header's name"},
        {"pool: p, request_headers: { set: { Host: c } }", "Host is set by the proxy"},
        {"pool: p, request_headers: { remove: [host] }", "host is set by the proxy"},
        {"pool: p, request_headers: { set: { X-Forwarded-For: c } }", "X-Forwarded-For is set"},
        {"pool: p, request_headers: { remove: [Transfer-Encoding] }", "Transfer-Encoding is set"},
        {"pool: p, request_headers: { set: { Octroi-Tier: c } }", "Octroi-Tier is set"},
        {"pool: p, response_headers: { set: { Content-Length: \"3\" } }", "Content-Length is set"},
        {"pool: p, response_headers: { set: { Connection: close } }", "Connection is set"},
        {"pool: p, response_headers: { set: { A: \"b\\r\\nC: d\" } }", "the value of A"},
        {"pool: p, response_headers: { set: { A: \" b\" } }", "the value of A"},
        {"pool: p, host_rewrite: \"a b\"", "host_rewrite"},
        {"pool: p, host_rewrite: \"a/b\"", "host_rewrite"},
        {"pool: p, prefix_rewrite: api",
         "test:4: routes[0]: route.prefix_rewrite begins with a slash"},
        {"pool: p, prefix_rewrite: //api", "prefix_rewrite is not in normal form: write /api"},
        {"pool: p, prefix_rewrite: /a/../b/", "normal form: write /b/"},
        {"pool: p, prefix_rewrite: /%61", "normal form: write /a"},
        {"pool: p, prefix_rewrite: /a%2fb", "prefix_rewrite: the path holds an encoded slash"},
        {"pool: p, prefix_rewrite: /a/..;x", "prefix_rewrite: the path holds a dot segment"},
        {"pool: p, prefix_rewrite: \"/a b\"", "prefix_rewrite holds a character"},
        {"pool: p, prefix_rewrite: \"/a?b\"", "prefix_rewrite holds a character"},
        {"pool: p, prefix_rewrite: \"/a\\r\\nb\"", "prefix_rewrite holds a character"},
        {"pool: p, prefix_rewrite: /a, strip_prefix: true", "exclude each other"},
        {"redirect: { to: \"http://a\" }, prefix_rewrite: /a", "a route with a pool"},
        {"respond: { status: 204, body: x }", "has no body"},
        {"respond: { status: 200, content_type: \"a\\nb\" }", "content_type"},
        {"respond: { status: 100 }", "status"},
        {"respond: { status: 200 }, pool: p", "one of pool, redirect and respond"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config *config = NULL;
        struct err err = {{0}};
        if (load(cases[i].route, &config, &err) == 0)
            fail_msg("accepted: %s", cases[i].route);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("%s: %s", cases[i].route, err.msg);
        config_free(&config);
    }
}

static void what_can_be_is_taken(void **state)
{
    static const char *const cases[] = {
        "pool: p, cors: { origins: [\"*\"] }",
        "pool: p, cors: { origins: [\"https://a.b:8443\", \"http://localhost:3000\"] }",
        "pool: p, cors: { origins: [\"https://a.b\"], credentials: true, max_age: 1h }",
        "pool: p, cors: { origins: [\"https://a.b\"], expose: [X-A], methods: [PUT] }",
        "pool: p, request_headers: { set: { X-A: \"b c\", X-E: \"\" }, remove: [Cookie] }",
        "pool: p, response_headers: { remove: [Server, Set-Cookie] }",
        "pool: p, host_rewrite: \"inner.example:8080\"",
        "pool: p, prefix_rewrite: /",
        "pool: p, prefix_rewrite: /a/b%20c/",
        "respond: { status: 503, body: later }",
        "respond: { status: 204 }",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config *config = NULL;
        struct err err = {{0}};
        if (load(cases[i], &config, &err))
            fail_msg("%s: %s", cases[i], err.msg);
        config_free(&config);
    }
}

static void edits_drop_every_spelling(void **state)
{
    const char *remove[] = {"X-User"};
    struct header_config set = {.key = "X-Role", .value = "guest"};
    const struct header_edit_config config = {.set = {&set, 1}, .remove = {remove, 1}};
    char text[] = "x-user: 1\r\nX_User: 2\r\nX-ROLE: 3\r\nX-Users: 4\r\n\r\n";
    struct http1_field fields[] = {{.name = 0, .name_len = 6},
                                   {.name = 11, .name_len = 6},
                                   {.name = 22, .name_len = 6},
                                   {.name = 33, .name_len = 7}};
    const struct http1_head head = {.base = text, .fields = fields, .count = 4};
    struct header_edit edit;
    struct err err;
    (void)state;
    assert_int_equal(header_edit_new(&config, HEADER_REQUEST, &edit, &err), 0);
    header_edit_drop(&edit, &head);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(fields[i].dropped, i < 3);
    assert_string_equal(edit.added->name, "X-Role");
    assert_null(edit.added->next);
    header_edit_free(&edit);
}

static void edits_take_trailers_out_too(void **state)
{
    static const struct {
        const char *lines, *left;
    } cases[] = {
        {"x-user: 1\r\nX-Sum: a:b\r\n", "X-Sum: a:b\r\n"},
        {"X-Sum: 1\r\nX_USER:2\r\nX-Users: 3\r\n", "X-Sum: 1\r\nX-Users: 3\r\n"},
        {"X-User: 1\r\nX-User: 2\r\n", ""},
        {"X-Sum: X-User: 1\r\n", "X-Sum: X-User: 1\r\n"},
    };

    const char *remove[] = {"X-User"};
    const struct header_edit_config config = {.remove = {remove, 1}}, none = {.remove = {NULL, 0}};
    struct header_edit edit, nothing;
    struct err err;
    (void)state;
    assert_int_equal(header_edit_new(&config, HEADER_REQUEST, &edit, &err), 0);
    assert_int_equal(header_edit_new(&none, HEADER_REQUEST, &nothing, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[64];
        strcpy(text, cases[i].lines);
        h2o_iovec_t lines = h2o_iovec_init(text, strlen(text));
        header_edit_trailers(&nothing, &lines);
        assert_int_equal(lines.len, strlen(cases[i].lines));
        header_edit_trailers(&edit, &lines);
        assert_int_equal(lines.len, strlen(cases[i].left));
        assert_memory_equal(lines.base, cases[i].left, lines.len);
    }
    header_edit_free(&edit);
    header_edit_free(&nothing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(what_can_be_is_taken),
        cmocka_unit_test(edits_drop_every_spelling),
        cmocka_unit_test(edits_take_trailers_out_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
