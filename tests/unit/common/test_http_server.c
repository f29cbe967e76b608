/* The HTTP server over real sockets: routing, bounds, refusals, JSON, Idempotency-Key. The client
 * is raw bytes, so that a test says exactly what was sent. */
#include "libcommon/buf.h"
#include "libcommon/http_server.h"
#include "libcommon/http_server_guard.h"
#include "libcommon/http_server_listen.h"
#include "libcommon/http_store.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define NL "\r\n"

struct fixture {
    struct http_server *server;
    struct http_store store;
    char address[32];
    int calls;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool hold; /* the slow handler waits while it is set */
    int held;
    unsigned observed;
    char kept_key[65];
    char kept_fingerprint[65];
    unsigned kept_status;
    char kept_body[512];
    enum http_store_result forced; /* 0: behave */
};

static struct fixture fixture;

static void on_echo(struct http_request *request, void *ctx)
{
    struct fixture *f = ctx;
    const char *x = http_query(request, "x");

    f->calls++;
    http_reply_json(request, 200,
                    json_pack("{s:s, s:s, s:s?, s:s, s:s}", "method", http_method(request), "id",
                              http_param(request, "id"), "x", x, "client", http_client(request),
                              "request_id", http_request_id(request)));
}

static void on_post(struct http_request *request, void *ctx)
{
    static const char *const fields[] = {"name", "n", NULL};
    struct fixture *f = ctx;
    int64_t n;

    json_t *body = http_json_object(request);
    if (body == NULL || http_json_only(request, body, fields) != 0)
        return;
    const char *name = http_json_string(request, body, "name", 8);
    if (name == NULL || http_json_int(request, body, "n", 1, 10, &n) != 0)
        return;
    if (!http_idempotent_begin(request, "tester"))
        return;
    f->calls++;
    if (strcmp(name, "boom") == 0)
        return;
    if (strcmp(name, "later") == 0) {
        http_reply_problem(request, PROBLEM_PAYMENT_PENDING, "wait");
        return;
    }
    http_reply_header(request, "Location", "/things/1");
    http_reply_json(request, 201, json_pack("{s:i}", "call", f->calls));
}

static void on_silent(struct http_request *request, void *ctx)
{
    (void)request;
    (void)ctx;
}

static void on_slow(struct http_request *request, void *ctx)
{
    struct fixture *f = ctx;

    pthread_mutex_lock(&f->lock);
    f->held++;
    pthread_cond_broadcast(&f->changed);
    while (f->hold)
        pthread_cond_wait(&f->changed, &f->lock);
    pthread_mutex_unlock(&f->lock);
    http_reply_text(request, 200, "text/plain", "late", 4);
}

static void on_raw(struct http_request *request, void *ctx)
{
    size_t len;
    const char *body = http_body(request, &len);

    (void)ctx;
    http_reply_text(request, 200, "application/octet-stream", body, len);
}

static void on_bearer(struct http_request *request, void *ctx)
{
    const char *token = http_bearer(request);

    (void)ctx;
    http_reply_text(request, 200, "text/plain", token != NULL ? token : "-",
                    token != NULL ? strlen(token) : 1);
}

static const struct http_route routes[] = {
    {"GET", "/things/{id}", on_echo, HTTP_NO_STORE, 0},
    {"POST", "/things", on_post, HTTP_IDEMPOTENT | HTTP_NO_STORE, 256},
    {"GET", "/open", on_silent, HTTP_CORS, 0},
    {"GET", "/slow", on_slow, 0, 0},
    {"PUT", "/raw", on_raw, 0, 100000},
    {"GET", "/bearer", on_bearer, 0, 0},
};

static enum http_store_result claim(void *ctx, const char *key, const char *fingerprint,
                                    unsigned *status, struct buf *body)
{
    struct fixture *f = ctx;

    if (f->forced != HTTP_STORE_NEW)
        return f->forced;
    if (f->kept_status != 0 && strcmp(f->kept_key, key) == 0) {
        if (strcmp(f->kept_fingerprint, fingerprint) != 0)
            return HTTP_STORE_MISMATCH;
        *status = f->kept_status;
        buf_puts(body, f->kept_body);
        return HTTP_STORE_REPLAY;
    }
    return HTTP_STORE_NEW;
}

static void finish(void *ctx, const char *key, const char *fingerprint, unsigned status,
                   const char *body, size_t len)
{
    struct fixture *f = ctx;

    if (status >= 500)
        return;
    snprintf(f->kept_key, sizeof(f->kept_key), "%s", key);
    snprintf(f->kept_fingerprint, sizeof(f->kept_fingerprint), "%s", fingerprint);
    snprintf(f->kept_body, sizeof(f->kept_body), "%.*s", (int)len, body);
    f->kept_status = status;
}

static void observe(void *ctx, const struct http_route *route, unsigned status, double seconds)
{
    struct fixture *f = ctx;

    (void)route;
    assert_true(seconds >= 0);
    pthread_mutex_lock(&f->lock);
    f->observed += status;
    pthread_mutex_unlock(&f->lock);
}

static int setup(void **state)
{
    struct err err = {{0}};

    (void)state;
    memset(&fixture, 0, sizeof(fixture));
    pthread_mutex_init(&fixture.lock, NULL);
    pthread_cond_init(&fixture.changed, NULL);
    fixture.store = (struct http_store){.ctx = &fixture, .claim = claim, .finish = finish};
    const struct http_server_options options = {.address = "127.0.0.1:0",
                                                .threads = 3,
                                                .routes = routes,
                                                .route_count = ARRAY_LEN(routes),
                                                .ctx = &fixture,
                                                .store = &fixture.store,
                                                .observe = observe};
    if (http_server_start(&options, &fixture.server, &err) != 0)
        fail_msg("%s", err.msg);
    snprintf(fixture.address, sizeof(fixture.address), "127.0.0.1:%u",
             http_server_port(fixture.server));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    http_server_stop(&fixture.server);
    assert_null(fixture.server);
    return 0;
}

static int dial(void)
{
    struct err err = {{0}};
    int fd = -1;

    if (http_server_connect(fixture.address, 10000, &fd, &err) != 0)
        fail_msg("%s", err.msg);
    return fd;
}

static void send_text(int fd, const char *text)
{
    size_t len = strlen(text);

    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* the server has closed: what it said is read below */
        text += n;
        len -= (size_t)n;
    }
}

/* Everything up to the end of the stream; the caller's. */
static char *read_all(int fd)
{
    struct buf out = {0};
    char piece[4096];
    ssize_t n;

    while ((n = recv(fd, piece, sizeof(piece), 0)) > 0)
        buf_add(&out, piece, (size_t)n);
    return buf_steal(&out);
}

/* One request on a connection of its own; the whole answer, the caller's. */
static char *ask(const char *request)
{
    int fd = dial();

    send_text(fd, request);
    char *answer = read_all(fd);
    close(fd);
    return answer;
}

static void expect_status(const char *what, const char *answer, unsigned status)
{
    char start[16];

    snprintf(start, sizeof(start), "HTTP/1.1 %u ", status);
    if (strncmp(answer, start, strlen(start)) != 0)
        fail_msg("%s: expected %u, got: %s", what, status, answer);
}

static void expect_has(const char *what, const char *answer, const char *text)
{
    if (strstr(answer, text) == NULL)
        fail_msg("%s: expected %s in: %s", what, text, answer);
}

#define GET(target, more) "GET " target " HTTP/1.1" NL "Host: x" NL "Connection: close" NL more NL

static void test_answers(void **state)
{
    static const struct {
        const char *request;
        unsigned status;
        const char *has;
    } cases[] = {
        {GET("/things/a%20b?x=1%2B1", ""), 200, "{\"method\":\"GET\",\"id\":\"a b\",\"x\":\"1+1\""},
        {GET("/things/a%2fb", ""), 200, "\"id\":\"a/b\""},
        {GET("/things/1", ""), 200, "Cache-Control: no-store"},
        {GET("/things/1", "X-Request-Id: abc-1.2" NL), 200, "X-Request-Id: abc-1.2\r\n"},
        {GET("/things/1", "X-Request-Id: a\"b" NL), 200, "\"x\":null"},
        {GET("/things/1", "X-Forwarded-For: 1.1.1.1, 2.2.2.2" NL), 200, "\"client\":\"2.2.2.2\""},
        {GET("/things/1", "X-Forwarded-For: 1.1.1.1, evil" NL), 200, "\"client\":\"127.0.0.1\""},
        {GET("/things/1", "X-Forwarded-For: 2001:db8::1 " NL), 200, "\"client\":\"2001:db8::1\""},
        /* A proxy that listens for both families on one socket writes the first of these: rates
         * count an IPv6 /64 as one client, and all of IPv4 was in one. */
        {GET("/things/1", "X-Forwarded-For: ::ffff:192.0.2.7" NL), 200, "\"client\":\"192.0.2.7\""},
        {GET("/things/1", "X-Forwarded-For: 2001:0DB8:0::1" NL), 200, "\"client\":\"2001:db8::1\""},
        /* What our proxy writes where a load balancer stands before it. */
        {GET("/things/1", "X-Forwarded-For: 1.1.1.1, 10.0.0.9" NL), 200, "\"client\":\"1.1.1.1\""},
        {GET("/things/1", "X-Forwarded-For: 1.1.1.1, 2.2.2.2 ,10.0.0.9" NL), 200,
         "\"client\":\"2.2.2.2\""},
        {GET("/things/1", "X-Forwarded-For: 10.0.0.7, 10.0.0.9" NL), 200,
         "\"client\":\"10.0.0.7\""},
        {GET("/things/1", "X-Forwarded-For: 1.1.1.1, evil, 10.0.0.9" NL), 200,
         "\"client\":\"10.0.0.9\""},
        {GET("/things/1", "X-Forwarded-For: ,10.0.0.9" NL), 200, "\"client\":\"10.0.0.9\""},
        {GET("/things/", ""), 404, "/problems/not-found"},
        {GET("/things/1/", ""), 404, "application/problem+json"},
        {GET("/nothing", ""), 404, "\"request_id\":\""},
        {GET("/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q", ""), 404, "not-found"},
        {GET("/things/%zz", ""), 400, "invalid escape"},
        {GET("/things/%00", ""), 400, "control character"},
        {GET("/things/1?x=%0a", ""), 400, "the query has an invalid escape"},
        {GET("/things/1?x=1&x=2", ""), 400, "names x more than once"},
        {GET("/things/1", "Authorization: a" NL "Authorization: b" NL), 400, "stands twice"},
        {GET("/things/1", "Content-Length: 5" NL) "hello", 413, "at most 0 bytes"},
        {"DELETE /things/1 HTTP/1.1" NL "Host: x" NL "Connection: close" NL NL, 405,
         "Allow: GET, HEAD, OPTIONS"},
        {"HEAD /things/1 HTTP/1.1" NL "Host: x" NL "Connection: close" NL NL, 200,
         "Content-Length: "},
        {"OPTIONS /open HTTP/1.1" NL "Host: x" NL "Connection: close" NL NL, 204,
         "Access-Control-Allow-Methods: GET, HEAD, OPTIONS"},
        {"OPTIONS /slow HTTP/1.1" NL "Host: x" NL "Connection: close" NL NL, 204,
         "Allow: GET, HEAD, OPTIONS"},
        {GET("/open", ""), 500, "/problems/internal"},
        {GET("/open", ""), 500, "Access-Control-Allow-Origin: *"},
        {GET("/bearer", "Authorization: bEaReR abc.d_e-f" NL), 200, "abc.d_e-f"},
        {GET("/bearer", "Authorization: Basic abc" NL), 200, NL NL "-"},
        {GET("/bearer", "Authorization: Bearer a b" NL), 200, NL NL "-"},
        {"PUT /raw HTTP/1.1" NL "Host: x" NL "Connection: close" NL
         "Transfer-Encoding: chunked" NL NL "3" NL "abc" NL "2" NL "de" NL "0" NL NL,
         200, NL NL "abcde"},
        {"PUT /raw HTTP/1.1" NL "Host: x" NL "Connection: close" NL "Content-Length: 5" NL
         "Transfer-Encoding: chunked" NL NL "0" NL NL,
         400, "exclude each other"},
        {"PUT /raw HTTP/1.1" NL "Host: x" NL "Connection: close" NL "Content-Length: 100001" NL NL,
         413, ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i].has[0] == '\0')
            continue; /* below: the body has to be sent */
        AUTO_FREE char *answer = ask(cases[i].request);
        expect_status(cases[i].request, answer, cases[i].status);
        expect_has(cases[i].request, answer, cases[i].has);
    }
}

static void test_head_has_no_body(void **state)
{
    (void)state;
    AUTO_FREE char *answer =
        ask("HEAD /things/1 HTTP/1.1" NL "Host: x" NL "Connection: close" NL NL);
    assert_string_equal(strstr(answer, NL NL), NL NL);
}

static void test_generated_id(void **state)
{
    (void)state;
    AUTO_FREE char *answer = ask(GET("/things/1", "X-Request-Id: not sane" NL));
    const char *id = strstr(answer, "X-Request-Id: ");
    assert_non_null(id);
    assert_int_equal(strspn(id + 14, "0123456789abcdef"), 32);
}

#define POST                                                                                       \
    "POST /things HTTP/1.1" NL "Host: x" NL "Connection: close" NL                                 \
    "Content-Type: application/json" NL "Content-Length: %zu" NL "%s" NL "%s"

static char *post(const char *more, const char *body)
{
    AUTO_FREE char *request = mem_printf(POST, strlen(body), more, body);

    return ask(request);
}

static void test_json(void **state)
{
    static const struct {
        const char *body;
        unsigned status;
        const char *has;
    } cases[] = {
        {"{\"name\":\"a\",\"n\":1}", 201, "{\"call\":1}"},
        {"{\"name\":\"a\",\"n\":1}", 201, "Location: /things/1"},
        {"{\"name\":\"a\"}", 400, "n: is missing"},
        {"{\"n\":1}", 400, "name: is missing"},
        {"{\"name\":1,\"n\":1}", 400, "name: must be a string"},
        {"{\"name\":\"123456789\",\"n\":1}", 400, "name: may have at most 8 bytes"},
        {"{\"name\":\"a\\nb\",\"n\":1}", 400, "name: must not have control characters"},
        {"{\"name\":\"a\",\"n\":11}", 400, "n: must be a whole number from 1 to 10"},
        {"{\"name\":\"a\",\"n\":1.5}", 400, "n: must be a whole number"},
        {"{\"name\":\"a\",\"n\":1,\"m\":1}", 400, "m: is not a field"},
        {"{\"name\":\"a\",\"name\":\"b\",\"n\":1}", 400, "not valid JSON"},
        {"{\"name\":\"a\",\"n\":1} x", 400, "not valid JSON"},
        {"[1]", 400, "must be a JSON object"},
        {"", 400, "not valid JSON"},
        {"{\"name\":\"boom\",\"n\":1}", 500, "/problems/internal"},
        {"{\"name\":\"later\",\"n\":1}", 409, "\"retryable\":true"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *answer = post("", cases[i].body);
        expect_status(cases[i].body, answer, cases[i].status);
        expect_has(cases[i].body, answer, cases[i].has);
    }
}

static void test_media_type(void **state)
{
    static const struct {
        const char *type;
        unsigned status;
    } cases[] = {
        {"application/json; charset=utf-8", 201},
        {"APPLICATION/JSON", 201},
        {"application/jsonx", 415},
        {"text/plain", 415},
        {"application/json; charset=latin1", 415},
    };

    static const char body[] = "{\"name\":\"a\",\"n\":1}";

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *request =
            mem_printf("POST /things HTTP/1.1" NL "Host: x" NL "Connection: close" NL
                       "Content-Type: %s" NL "Content-Length: %zu" NL NL "%s",
                       cases[i].type, sizeof(body) - 1, body);
        AUTO_FREE char *answer = ask(request);
        expect_status(cases[i].type, answer, cases[i].status);
    }
}

static void test_idempotency(void **state)
{
    static const char key[] = "Idempotency-Key: k1" NL;
    static const char body[] = "{\"name\":\"a\",\"n\":1}";

    (void)state;
    AUTO_FREE char *first = post(key, body);
    AUTO_FREE char *again = post(key, body);
    AUTO_FREE char *other = post(key, "{\"name\":\"b\",\"n\":1}");
    AUTO_FREE char *fresh = post("Idempotency-Key: k2" NL, body);
    expect_status("first", first, 201);
    expect_has("again", again, "Idempotent-Replayed: true");
    expect_has("again", again, "{\"call\":1}");
    expect_status("again", again, 201);
    expect_status("other", other, 422);
    expect_has("fresh", fresh, "{\"call\":2}");
}

static void test_idempotency_releases_what_may_be_tried_again(void **state)
{
    static const char key[] = "Idempotency-Key: k1" NL;

    (void)state;
    AUTO_FREE char *later = post(key, "{\"name\":\"later\",\"n\":1}");
    AUTO_FREE char *boom = post(key, "{\"name\":\"boom\",\"n\":1}");
    expect_status("later", later, 409);
    expect_status("boom", boom, 500);
    assert_int_equal(fixture.kept_status, 0);
    assert_int_equal(fixture.calls, 2);
}

static void test_idempotency_refusals(void **state)
{
    static const struct {
        enum http_store_result forced;
        const char *key;
        unsigned status;
    } cases[] = {
        {HTTP_STORE_BUSY, "k", 409},
        {HTTP_STORE_ERROR, "k", 503},
        {HTTP_STORE_NEW, "a b", 400},
        {HTTP_STORE_NEW, "\xc3\xa4", 400},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *more = mem_printf("Idempotency-Key: %s" NL, cases[i].key);
        fixture.forced = cases[i].forced;
        AUTO_FREE char *answer = post(more, "{\"name\":\"a\",\"n\":1}");
        expect_status(cases[i].key, answer, cases[i].status);
        if (cases[i].forced == HTTP_STORE_NEW)
            continue;
        expect_has("what passes by itself may be tried again", answer, "Retry-After: 1");
        expect_has("what passes by itself may be tried again", answer, "\"retryable\":true");
    }
    AUTO_FREE char *long_key = mem_printf("Idempotency-Key: %0256d" NL, 1);
    AUTO_FREE char *answer = post(long_key, "{\"name\":\"a\",\"n\":1}");
    expect_status("256 characters", answer, 400);
    assert_int_equal(fixture.calls, 0);
}

/* The refusal reaches a client that sends its whole body first. */
static void test_body_too_large(void **state)
{
    AUTO_FREE char *body = mem_alloc(100002);

    (void)state;
    memset(body, 'x', 100001);
    body[100001] = '\0';
    AUTO_FREE char *sized = mem_printf("PUT /raw HTTP/1.1" NL "Host: x" NL "Connection: close" NL
                                       "Content-Length: 100001" NL NL "%s",
                                       body);
    AUTO_FREE char *chunked =
        mem_printf("PUT /raw HTTP/1.1" NL "Host: x" NL "Connection: close" NL
                   "Transfer-Encoding: chunked" NL NL "186a1" NL "%s" NL "0" NL NL,
                   body);
    AUTO_FREE char *first = ask(sized);
    AUTO_FREE char *second = ask(chunked);
    AUTO_FREE char *expect = ask("PUT /raw HTTP/1.1" NL "Host: x" NL "Expect: 100-continue" NL
                                 "Content-Length: 99999999999999999999" NL NL);
    expect_status("sized", first, 413);
    expect_status("chunked", second, 413);
    expect_status("expect", expect, 413);
}

static void test_body_of_full_size(void **state)
{
    AUTO_FREE char *body = mem_alloc(100001);

    (void)state;
    memset(body, 'y', 100000);
    body[100000] = '\0';
    AUTO_FREE char *request = mem_printf("PUT /raw HTTP/1.1" NL "Host: x" NL "Connection: close" NL
                                         "Content-Length: 100000" NL NL "%s",
                                         body);
    AUTO_FREE char *answer = ask(request);
    expect_status("full size", answer, 200);
    assert_string_equal(strstr(answer, NL NL) + 4, body);
}

/* Two requests on one connection, sent together. */
static void test_keep_alive(void **state)
{
    (void)state;
    AUTO_FREE char *answer = ask("GET /things/1 HTTP/1.1" NL "Host: x" NL NL GET("/things/2", ""));
    const char *one = strstr(answer, "\"id\":\"1\"");
    assert_non_null(one);
    assert_non_null(strstr(one, "\"id\":\"2\""));
}

static void test_huge_head(void **state)
{
    AUTO_FREE char *value = mem_alloc(70001);

    (void)state;
    memset(value, 'v', 70000);
    value[70000] = '\0';
    AUTO_FREE char *request = mem_printf(
        "GET /things/1 HTTP/1.1" NL "Host: x" NL "Connection: close" NL "X-Big: %s" NL NL, value);
    AUTO_FREE char *answer = ask(request);
    assert_null(strstr(answer, "200 OK"));
    AUTO_FREE char *after = ask(GET("/things/1", ""));
    expect_status("after", after, 200);
}

static void wait_held(int count)
{
    pthread_mutex_lock(&fixture.lock);
    while (fixture.held < count)
        pthread_cond_wait(&fixture.changed, &fixture.lock);
    pthread_mutex_unlock(&fixture.lock);
}

static void release(void)
{
    pthread_mutex_lock(&fixture.lock);
    fixture.hold = false;
    pthread_cond_broadcast(&fixture.changed);
    pthread_mutex_unlock(&fixture.lock);
}

/* A handler that blocks holds its own worker and nothing else. */
static void test_slow_handlers(void **state)
{
    int first = dial();
    int second = dial();

    (void)state;
    fixture.hold = true;
    send_text(first, GET("/slow", ""));
    send_text(second, GET("/slow", ""));
    wait_held(2);
    AUTO_FREE char *other = ask(GET("/things/1", ""));
    expect_status("while two block", other, 200);
    release();
    AUTO_FREE char *one = read_all(first);
    AUTO_FREE char *two = read_all(second);
    expect_has("first", one, "late");
    expect_has("second", two, "late");
    close(first);
    close(second);
}

static void test_client_leaves(void **state)
{
    int fd = dial();

    (void)state;
    fixture.hold = true;
    send_text(fd, GET("/slow", ""));
    wait_held(1);
    close(fd);
    release();
    AUTO_FREE char *other = ask(GET("/things/1", ""));
    expect_status("after", other, 200);
}

static void test_drain(void **state)
{
    struct err err = {{0}};
    int fd = dial();
    int refused = -1;

    (void)state;
    fixture.hold = true;
    send_text(fd, "GET /slow HTTP/1.1" NL "Host: x" NL NL);
    wait_held(1);
    http_server_drain(fixture.server);
    http_server_drain(fixture.server);
    assert_int_equal(http_server_connect(fixture.address, 1000, &refused, &err), -1);
    release();
    AUTO_FREE char *answer = read_all(fd); /* keep-alive was asked for; the server ends it */
    expect_has("drained", answer, "Connection: close");
    expect_has("drained", answer, "late");
    close(fd);
}

static void test_stop_answers_what_runs(void **state)
{
    int fd = dial();

    (void)state;
    fixture.hold = true;
    send_text(fd, GET("/slow", ""));
    wait_held(1);
    release();
    http_server_stop(&fixture.server);
    close(fd);
}

static void test_observed(void **state)
{
    (void)state;
    AUTO_FREE char *one = ask(GET("/things/1", ""));
    AUTO_FREE char *two = ask(GET("/none", ""));
    http_server_stop(&fixture.server);
    assert_int_equal(fixture.observed, 604);
    (void)one;
    (void)two;
}

static void test_addresses(void **state)
{
    static const char *const wrong[] = {
        "", "8080", "localhost", "127.0.0.1:", ":80x", "::1:80", "[::1:80", "1.2.3.4:70000"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct err err = {{0}};
        unsigned port;
        int fd;
        assert_int_equal(http_server_listen(wrong[i], &fd, &port, &err), -1);
        assert_string_not_equal(err.msg, "");
    }
}

static void test_port_taken(void **state)
{
    struct err err = {{0}};
    struct http_server *other = NULL;
    const struct http_server_options options = {.address = fixture.address};

    (void)state;
    assert_int_equal(http_server_start(&options, &other, &err), -1);
    assert_non_null(strstr(err.msg, fixture.address));
}

static void test_guard(void **state)
{
    int pair[2];
    char byte;
    struct http_server_guard *guard = http_server_guard_new(100);

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct http_server_guarded *a = http_server_guard_add(guard, pair[0], 1000);
    struct http_server_guarded *b = http_server_guard_add(guard, -1, 1000);
    http_server_guard_disarm(guard, b);
    assert_int_equal(http_server_guard_sweep(guard, 1099), 0);
    http_server_guard_arm(guard, a, 1050);
    assert_int_equal(http_server_guard_sweep(guard, 1149), 0);
    assert_int_equal(http_server_guard_sweep(guard, 1150), 1);
    assert_int_equal(http_server_guard_sweep(guard, 9999), 0);
    assert_int_equal(recv(pair[1], &byte, 1, 0), 0);
    http_server_guard_remove(guard, &a);
    http_server_guard_remove(guard, &b);
    assert_null(a);
    http_server_guard_free(&guard);
    close(pair[0]);
    close(pair[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers),
        TEST(test_head_has_no_body),
        TEST(test_generated_id),
        TEST(test_json),
        TEST(test_media_type),
        TEST(test_idempotency),
        TEST(test_idempotency_releases_what_may_be_tried_again),
        TEST(test_idempotency_refusals),
        TEST(test_body_too_large),
        TEST(test_body_of_full_size),
        TEST(test_keep_alive),
        TEST(test_huge_head),
        TEST(test_slow_handlers),
        TEST(test_client_leaves),
        TEST(test_drain),
        TEST(test_stop_answers_what_runs),
        TEST(test_observed),
        TEST(test_port_taken),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_guard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
