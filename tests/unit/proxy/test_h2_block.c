#include "services/proxy/h2_block.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FIELDS 20

static const struct http1_limits limits = {
    .head_bytes = 1024, .fields = FIELDS, .target_bytes = 200};
static const uint64_t key[2] = {0, 0};
static struct http1_field scratch[FIELDS];
static struct h2_block *block;
static h2o_mem_pool_t pool;

static int setup(void **state)
{
    (void)state;
    block = h2_block_new(&limits);
    h2o_mem_init_pool(&pool);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(block);
    h2o_mem_clear_pool(&pool);
    return 0;
}

static enum h2_block_result add(const char *name, const char *value)
{
    return h2_block_add(block, name, strlen(name), value, strlen(value));
}

/* "name=value" for each; NULL at the end. */
static enum h2_block_result fill(const char *const *list)
{
    enum h2_block_result result = H2_BLOCK_OK;
    h2_block_begin(block, false);
    for (; *list && result == H2_BLOCK_OK; list++) {
        const char *mark = strchr(*list + 1, '=');
        result = h2_block_add(block, *list, (size_t)(mark - *list), mark + 1, strlen(mark + 1));
    }
    return result;
}

static void test_heads(void **state)
{
    static const struct {
        const char *in[12];
        const char *out;
    } cases[] = {
        {{":method=GET", ":scheme=https", ":authority=a.test", ":path=/x?y=1", "accept=*/*"},
         "GET /x?y=1 HTTP/1.1\r\nHost: a.test\r\naccept: */*\r\n\r\n"},
        {{":path=/", ":authority=a", ":scheme=http", ":method=DELETE"},
         "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"},
        {{":method=OPTIONS", ":scheme=http", ":authority=a", ":path=*"},
         "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
        /* crumbs are one field, wherever they stand (RFC 9113 section 8.2.3) */
        {{":method=GET", ":scheme=http", ":authority=a", ":path=/", "cookie=a=1", "x=y",
          "cookie=b=2", "cookie=c"},
         "GET / HTTP/1.1\r\nHost: a\r\nx: y\r\ncookie: a=1; b=2; c\r\n\r\n"},
        {{":method=GET", ":scheme=http", ":path=/", "a=b", "host=h.test", "c=d"},
         "GET / HTTP/1.1\r\nHost: h.test\r\na: b\r\nc: d\r\n\r\n"},
        {{":method=GET", ":scheme=http", ":authority=H.test", ":path=/", "host=h.test"},
         "GET / HTTP/1.1\r\nHost: H.test\r\n\r\n"},
        {{":method=POST", ":scheme=http", ":authority=a", ":path=/", "content-length=3",
          "te=trailers"},
         "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\nte: trailers\r\n\r\n"},
        {{":method=CONNECT", ":protocol=websocket", ":scheme=https", ":authority=a", ":path=/chat",
          "sec-websocket-version=13", "sec-websocket-key=mine"},
         "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http1_head head;
        struct http1_error error;
        assert_int_equal(fill(cases[i].in), H2_BLOCK_OK);
        assert_int_equal(h2_block_head(block, &pool, key, scratch, &head, &error), HTTP1_DONE);
        assert_int_equal(head.len, strlen(cases[i].out));
        assert_memory_equal(head.base, cases[i].out, head.len);
    }
}

static void test_refused_heads(void **state)
{
    static const struct {
        const char *in[12];
        enum problem problem;
    } cases[] = {
        {{":method=GET", ":scheme=ftp", ":authority=a", ":path=/"}, PROBLEM_BAD_REQUEST},
        {{":method=GET", ":authority=a", ":path=/"}, PROBLEM_BAD_REQUEST},
        {{":method=GET", ":scheme=http", ":authority=a", ":path="}, PROBLEM_BAD_REQUEST},
        {{":method=GET", ":scheme=http", ":authority=a", ":path=x"}, PROBLEM_BAD_REQUEST},
        {{":method=GET", ":scheme=http", ":authority=a", ":path=http://b/"}, PROBLEM_BAD_REQUEST},
        {{":method=GET", ":scheme=http", ":authority=a", ":path=/ HTTP/1.1"}, PROBLEM_BAD_REQUEST},
        {{":method=GET", ":scheme=http", ":authority=a", ":path=/a#b"}, PROBLEM_BAD_REQUEST},
        {{":method=GE T", ":scheme=http", ":authority=a", ":path=/"}, PROBLEM_BAD_REQUEST},
        {{":method=", ":scheme=http", ":authority=a", ":path=/"}, PROBLEM_BAD_REQUEST},
        {{":method=GET", ":scheme=http", ":path=/"}, PROBLEM_BAD_REQUEST},
        {{":method=GET", ":scheme=http", ":authority=a", ":path=/", "host=b"}, PROBLEM_BAD_REQUEST},
        {{":method=POST", ":scheme=http", ":authority=a", ":path=/", "content-length=1",
          "content-length=1"},
         PROBLEM_BAD_REQUEST},
        {{":method=POST", ":scheme=http", ":authority=a", ":path=/", "content-length=1",
          "transfer-encoding=chunked"},
         PROBLEM_BAD_REQUEST},
        {{":method=CONNECT", ":authority=a:443"}, PROBLEM_METHOD_NOT_ALLOWED},
        {{":method=CONNECT", ":protocol=connect-udp", ":scheme=https", ":authority=a", ":path=/"},
         PROBLEM_NOT_IMPLEMENTED},
        {{":method=GET", ":protocol=websocket", ":scheme=https", ":authority=a", ":path=/"},
         PROBLEM_BAD_REQUEST},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http1_head head;
        struct http1_error error = {PROBLEM_NONE, NULL};
        assert_int_equal(fill(cases[i].in), H2_BLOCK_OK);
        assert_int_equal(h2_block_head(block, &pool, key, scratch, &head, &error), HTTP1_ERROR);
        assert_int_equal(error.problem, cases[i].problem);
    }
}

static void test_malformed_lists(void **state)
{
    static const char *const cases[][6] = {
        {":method=GET", ":method=GET"},
        {":status=200"},
        {":other=1"},
        {"a=b", ":method=GET"},
        {"A=b"},
        {"a b=c"},
        {"a:b=c"},
        {"a\r\nb=c"},
        {"x=a\r\nHost: evil"},
        {"x=a\nb"},
        {":path=/\r\nX: y"},
        {"cookie=a\r\nb"},
        {"host=a", "host=a"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(fill(cases[i]), H2_BLOCK_MALFORMED);
    h2_block_begin(block, false);
    assert_int_equal(h2_block_add(block, "", 0, "a", 1), H2_BLOCK_MALFORMED);
    assert_int_equal(h2_block_add(block, "a", 1, "a\0b", 3), H2_BLOCK_MALFORMED);
}

static void test_trailers(void **state)
{
    (void)state;
    h2_block_begin(block, true);
    assert_int_equal(add("x-sum", "1"), H2_BLOCK_OK);
    assert_int_equal(add("cookie", "c"), H2_BLOCK_OK);
    assert_int_equal(block->text_len, strlen("x-sum: 1\r\ncookie: c\r\n"));
    assert_memory_equal(block->text, "x-sum: 1\r\ncookie: c\r\n", block->text_len);
    assert_int_equal(add(":path", "/"), H2_BLOCK_MALFORMED);
}

/* Whatever comes, no more than the limits is kept; far beyond them the connection has to go. */
static void test_bounds(void **state)
{
    static char big[5000];
    struct http1_head head;
    struct http1_error error;
    enum h2_block_result result = H2_BLOCK_OK;
    (void)state;
    memset(big, 'a', sizeof(big) - 1);
    for (int way = 0; way < 2; way++) {
        h2_block_begin(block, false);
        add(":method", "GET");
        unsigned count = 0;
        do
            result = h2_block_add(block, way ? "x" : "cookie", way ? 1 : 6, big, way ? 0 : 500);
        while (result == H2_BLOCK_OK && ++count < 10000);
        assert_int_equal(result, H2_BLOCK_BOMB);
        assert_true(block->text_len + block->cookie_len <= limits.head_bytes);
        assert_true(block->overflow);
        assert_int_equal(h2_block_head(block, &pool, key, scratch, &head, &error), HTTP1_ERROR);
        assert_int_equal(error.problem, PROBLEM_HEADERS_TOO_LARGE);
    }
    h2_block_begin(block, false);
    assert_int_equal(h2_block_add(block, big, 1024, "", 0), H2_BLOCK_OK);
    assert_true(block->overflow);
}

/* A crowd of open lists leaves a few behind, of the limits that hold now. */
static void test_spares(void **state)
{
    const struct http1_limits others = {.head_bytes = 2048, .fields = FIELDS, .target_bytes = 200};
    struct h2_block_spares spares = {NULL, 0};
    struct h2_block *crowd[100];
    (void)state;
    for (size_t i = 0; i < 100; i++)
        crowd[i] = h2_block_take(&spares, &limits);
    for (size_t i = 100; i > 0; i--)
        h2_block_give(&spares, &crowd[i - 1]);
    assert_null(crowd[0]);
    h2_block_give(&spares, &crowd[0]);
    assert_in_range(spares.count, 1, 16);
    while (spares.count > 1) {
        crowd[0] = h2_block_take(&spares, &limits);
        assert_int_equal(crowd[0]->limits.head_bytes, limits.head_bytes);
        free(crowd[0]);
    }
    crowd[0] = h2_block_take(&spares, &others);
    assert_int_equal(crowd[0]->limits.head_bytes, others.head_bytes);
    assert_int_equal(spares.count, 0);
    h2_block_give(&spares, &crowd[0]);
    struct h2_block *first = spares.first;
    crowd[0] = h2_block_take(&spares, &others);
    assert_ptr_equal(crowd[0], first);
    h2_block_give(&spares, &crowd[0]);
    h2_block_spares_free(&spares);
    assert_int_equal(spares.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_heads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_heads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trailers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
        cmocka_unit_test(test_spares)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
