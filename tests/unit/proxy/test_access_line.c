/* The access log's lines: every field in both formats, escapes, bounds, and what must never show.
 */
#include "libcommon/json.h"
#include "libcommon/log_ring.h"
#include "services/proxy/access_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SLICE(text) h2o_iovec_init(text, strlen(text))

static struct access_line sample(void)
{
    return (struct access_line){
        .client = SLICE("192.0.2.7"),
        .method = SLICE("GET"),
        .host = SLICE("api.example.com"),
        .path = SLICE("/v1/items"),
        .referer = SLICE("https://shop.example/basket?token=hunter2"),
        .agent = SLICE("curl/8 \"quoted\""),
        .request_id = "0123456789abcdef0123456789abcdef",
        .trace_id = "4bf92f3577b34da6a3ce929d0e0e4736-behind",
        .protocol = "HTTP/1.1",
        .tls = "TLSv1.3",
        .problem = NULL,
        .route = "api.example.com/v1/",
        .pool = "api",
        .backend = "127.0.0.1:9001",
        .status = 200,
        .attempts = 2,
        .bytes_in = 12,
        .bytes_out = 3456,
        .total_ns = 12345678,
        .connect_ns = -1,
        .head_ns = 999,
    };
}

static json_t *as_json(const struct access_line *line)
{
    struct access_clock clock = {.second = -1};
    char out[LOG_LINE_MAX];
    json_t *json = NULL;
    struct err err = {{0}};
    access_clock_set(&clock, 1795255445007);
    size_t len = access_line_json(line, &clock, out, sizeof(out));
    assert_true(len <= sizeof(out));
    assert_int_equal(out[len - 1], '\n');
    if (json_parse(out, len, &json, &err))
        fail_msg("%s: %.*s", err.msg, (int)len, out);
    return json;
}

static void expect(const json_t *json, const char *key, const char *value)
{
    const char *got = json_string_value(json_object_get(json, key));
    if (!got || strcmp(got, value) != 0)
        fail_msg("%s is %s, not %s", key, got ? got : "absent", value);
}

static void test_json(void **state)
{
    static const struct {
        const char *key, *value;
    } texts[] = {
        {"ts", "2026-11-21T10:04:05.007Z"},
        {"level", "info"},
        {"service", "proxy"},
        {"msg", "request"},
        {"request_id", "0123456789abcdef0123456789abcdef"},
        {"trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"},
        {"client", "192.0.2.7"},
        {"method", "GET"},
        {"host", "api.example.com"},
        {"path", "/v1/items"},
        {"protocol", "HTTP/1.1"},
        {"tls", "TLSv1.3"},
        {"route", "api.example.com/v1/"},
        {"pool", "api"},
        {"backend", "127.0.0.1:9001"},
    };
    struct access_line line = sample();
    (void)state;
    AUTO_JSON json_t *json = as_json(&line);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        expect(json, texts[i].key, texts[i].value);
    assert_int_equal(json_integer_value(json_object_get(json, "status")), 200);
    assert_int_equal(json_integer_value(json_object_get(json, "attempts")), 2);
    assert_int_equal(json_integer_value(json_object_get(json, "bytes_in")), 12);
    assert_int_equal(json_integer_value(json_object_get(json, "bytes_out")), 3456);
    assert_true(json_real_value(json_object_get(json, "duration_ms")) == 12.345);
    assert_true(json_real_value(json_object_get(json, "upstream_head_ms")) == 0);
    assert_true(json_is_null(json_object_get(json, "upstream_connect_ms")));
    assert_true(json_is_null(json_object_get(json, "problem")));
    assert_true(json_is_false(json_object_get(json, "aborted")));
    assert_int_equal(json_object_size(json), 24);
}

static void test_json_of_nothing(void **state)
{
    struct access_line line = {.protocol = "HTTP/1.1", .aborted = true, .connect_ns = 1500000};
    (void)state;
    AUTO_JSON json_t *json = as_json(&line);
    assert_true(json_is_null(json_object_get(json, "host")));
    assert_true(json_is_null(json_object_get(json, "trace_id")));
    assert_true(json_is_null(json_object_get(json, "route")));
    assert_true(json_is_true(json_object_get(json, "aborted")));
    assert_true(json_real_value(json_object_get(json, "upstream_connect_ms")) == 1.5);
}

/* Every length of a path around the bound, with escapes and without: the other fields stay. */
static void test_long_paths(void **state)
{
    static const char fills[] = {'a', '"', '\x01', '\xff', '\xc3'};
    char path[2 * LOG_LINE_MAX];
    (void)state;
    for (size_t f = 0; f < sizeof(fills); f++) {
        memset(path, fills[f], sizeof(path));
        for (size_t len = 0; len < sizeof(path); len += len < 200 ? 50 : 7) {
            struct access_line line = sample();
            line.path = h2o_iovec_init(path, len);
            AUTO_JSON json_t *json = as_json(&line);
            expect(json, "backend", "127.0.0.1:9001");
            assert_true(json_is_false(json_object_get(json, "aborted")));
        }
    }
}

static void combined(const struct access_line *line, char *out)
{
    struct access_clock clock = {.second = -1};
    access_clock_set(&clock, 1795255445007);
    size_t len = access_line_combined(line, &clock, out, LOG_LINE_MAX);
    assert_true(len < LOG_LINE_MAX + 1);
    out[len] = '\0';
}

static void test_combined(void **state)
{
    struct access_line line = sample();
    char out[LOG_LINE_MAX + 1];
    (void)state;
    combined(&line, out);
    assert_string_equal(out,
                        "192.0.2.7 - - [21/Nov/2026:10:04:05 +0000] \"GET /v1/items HTTP/1.1\" "
                        "200 3456 \"https://shop.example/basket\" "
                        "\"curl/8 \\x22quoted\\x22\"\n");
    line = (struct access_line){.protocol = "HTTP/1.0", .path = SLICE("/a\"b\n\xc3\x28\\")};
    combined(&line, out);
    assert_string_equal(out, "- - - [21/Nov/2026:10:04:05 +0000] \"- /a\\x22b\\x0A\\xC3(\\x5C "
                             "HTTP/1.0\" 0 0 \"-\" \"-\"\n");
}

static void test_combined_is_bounded(void **state)
{
    char fill[4000], out[LOG_LINE_MAX + 1];
    (void)state;
    memset(fill, '\x02', sizeof(fill));
    for (size_t len = 0; len < sizeof(fill); len += 13) {
        struct access_line line = sample();
        line.path = line.referer = line.agent = h2o_iovec_init(fill, len);
        combined(&line, out);
        assert_int_equal(out[strlen(out) - 1], '\n');
        assert_int_equal(strcspn(out, "\n"), strlen(out) - 1);
        assert_non_null(strstr(out, "\" 200 3456 \""));
    }
}

/* The texts of the clock follow the second, and only the milliseconds change within it. */
static void test_clock(void **state)
{
    struct access_clock clock = {.second = -1};
    (void)state;
    access_clock_set(&clock, 1795255445007);
    assert_memory_equal(clock.ts, "2026-11-21T10:04:05.007Z", 24);
    access_clock_set(&clock, 1795255445999);
    assert_memory_equal(clock.ts, "2026-11-21T10:04:05.999Z", 24);
    access_clock_set(&clock, 1795255446000);
    assert_memory_equal(clock.ts, "2026-11-21T10:04:06.000Z", 24);
    assert_string_equal(clock.clf, "21/Nov/2026:10:04:06 +0000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),       cmocka_unit_test(test_json_of_nothing),
        cmocka_unit_test(test_long_paths), cmocka_unit_test(test_combined),
        cmocka_unit_test(test_clock),      cmocka_unit_test(test_combined_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
