/* What the grammar of HTTP/1.1 allows and nothing else: every byte at every place of a head, and
 * each known way to say two things at once, in requests, responses and chunked bodies. */
#include "libcommon/mem.h"
#include "services/proxy/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FIELDS 40

static const struct http1_limits limits = {
    .head_bytes = 2048, .fields = FIELDS, .target_bytes = 256};

/* Of exactly this size: reading behind it is seen. */
static char *exact(const char *text, size_t len)
{
    char *copy = mem_alloc(len ? len : 1);
    memcpy(copy, text, len);
    return copy;
}

/* PROBLEM_NONE: accepted; PROBLEM_COUNT: more is asked for. */
static enum problem request(const char *text, size_t len, struct http1_head *out)
{
    static struct http1_field fields[FIELDS];
    struct http1_error error = {.problem = PROBLEM_NONE};
    AUTO_FREE char *copy = exact(text, len);
    *out = (struct http1_head){.fields = fields};
    switch (http1_parse_request(copy, len, &limits, out, &error)) {
    case HTTP1_DONE:
        return PROBLEM_NONE;
    case HTTP1_MORE:
        return PROBLEM_COUNT;
    case HTTP1_ERROR:
        break;
    }
    return error.problem;
}

static enum problem response(const char *text, size_t len, struct http1_head *out)
{
    static struct http1_field fields[FIELDS];
    struct http1_error error = {.problem = PROBLEM_NONE};
    AUTO_FREE char *copy = exact(text, len);
    *out = (struct http1_head){.fields = fields};
    switch (http1_parse_response(copy, len, &limits, false, out, &error)) {
    case HTTP1_DONE:
        return PROBLEM_NONE;
    case HTTP1_MORE:
        return PROBLEM_COUNT;
    case HTTP1_ERROR:
        break;
    }
    return error.problem;
}

struct place {
    const char *before, *after;
    const char *allowed; /* beside what `class` allows */
    enum { TOKEN, TARGET, VALUE, NOTHING } class;
};

static bool in_class(const struct place *place, unsigned c)
{
    bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (c && strchr(place->allowed, (int)c))
        return true;
    switch (place->class) {
    case TOKEN:
        return alnum || (c && strchr("!#$%&'*+-.^_`|~", (int)c));
    case TARGET:
        return c > 0x20 && c < 0x7f && c != '#';
    case VALUE:
        return c == '\t' || (c >= 0x20 && c != 0x7f);
    case NOTHING:
        break;
    }
    return false;
}

static void check_places(const struct place *places, size_t count,
                         enum problem (*parse)(const char *, size_t, struct http1_head *))
{
    for (size_t i = 0; i < count; i++) {
        for (unsigned c = 0; c < 256; c++) {
            char text[256];
            struct http1_head head;
            int n = snprintf(text, sizeof(text), "%s@%s", places[i].before, places[i].after);
            text[strlen(places[i].before)] = (char)c;
            bool accepted = parse(text, (size_t)n, &head) == PROBLEM_NONE;
            if (accepted != in_class(&places[i], c))
                fail_msg("byte 0x%02x between \"%s\" and \"%s\" is %s", c, places[i].before,
                         places[i].after, accepted ? "accepted" : "refused");
        }
    }
}

static void every_byte_of_a_request(void **state)
{
    static const struct place places[] = {
        {"G", "T / HTTP/1.1\r\nHost: a\r\n\r\n", "", TOKEN},
        {"GET", "/ HTTP/1.1\r\nHost: a\r\n\r\n", " ", NOTHING},
        {"GET ", "/ HTTP/1.1\r\nHost: a\r\n\r\n", "", TARGET},
        {"GET /a", "b HTTP/1.1\r\nHost: a\r\n\r\n", "", TARGET},
        {"GET /a?", "b HTTP/1.1\r\nHost: a\r\n\r\n", "", TARGET},
        {"GET /", "HTTP/1.1\r\nHost: a\r\n\r\n", " ", NOTHING},
        {"GET / ", "TTP/1.1\r\nHost: a\r\n\r\n", "H", NOTHING},
        {"GET / HTTP", "1.1\r\nHost: a\r\n\r\n", "/", NOTHING},
        {"GET / HTTP/", ".1\r\nHost: a\r\n\r\n", "1", NOTHING},
        {"GET / HTTP/1", "1\r\nHost: a\r\n\r\n", ".", NOTHING},
        {"GET / HTTP/1.", "\r\nHost: a\r\n\r\n", "01", NOTHING},
        {"GET / HTTP/1.1", "\nHost: a\r\n\r\n", "\r", NOTHING},
        {"GET / HTTP/1.1\r", "Host: a\r\n\r\n", "\n", NOTHING},
        {"GET / HTTP/1.1\r\nHost: a\r\n", "ame: b\r\n\r\n", "", TOKEN},
        {"GET / HTTP/1.1\r\nHost: a\r\nna", "me: b\r\n\r\n", ":", TOKEN},
        {"GET / HTTP/1.1\r\nHost: a\r\nname", " b\r\n\r\n", ":", NOTHING},
        {"GET / HTTP/1.1\r\nHost: a\r\nname:", "b\r\n\r\n", "", VALUE},
        {"GET / HTTP/1.1\r\nHost: a\r\nname: b", "b\r\n\r\n", "", VALUE},
        {"GET / HTTP/1.1\r\nHost: a\r\nname: 0123456789abcdef", "0123456789abcdef\r\n\r\n", "",
         VALUE},
        {"GET / HTTP/1.1\r\nHost: a\r\nname: b", "\n\r\n", "\r", NOTHING},
        {"GET / HTTP/1.1\r\nHost: a\r\nname: b\r", "\r\n", "\n", NOTHING},
        {"GET / HTTP/1.1\r\nHost: a\r\n", "\n", "\r", NOTHING},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1", "\r\n\r\n", "0123456789 \t", NOTHING},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: ", "1\r\n\r\n", "0123456789 \t", NOTHING},
        {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", "\r\n\r\n", " \t", NOTHING},
        {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ", "chunked\r\n\r\n", " \t", NOTHING},
        {"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue", "\r\n\r\n", " \t", NOTHING},
    };
    (void)state;
    check_places(places, ARRAY_LEN(places), request);
}

static void every_byte_of_a_response(void **state)
{
    static const struct place places[] = {
        {"", "TTP/1.1 200 OK\r\n\r\n", "H", NOTHING},
        {"HTTP/", ".1 200 OK\r\n\r\n", "1", NOTHING},
        {"HTTP/1.", " 200 OK\r\n\r\n", "01", NOTHING},
        {"HTTP/1.1", "200 OK\r\n\r\n", " ", NOTHING},
        {"HTTP/1.1 ", "00 OK\r\n\r\n", "12345", NOTHING},
        {"HTTP/1.1 2", "0 OK\r\n\r\n", "0123456789", NOTHING},
        {"HTTP/1.1 20", " OK\r\n\r\n", "0123456789", NOTHING},
        {"HTTP/1.1 200", "OK\r\n\r\n", " ", NOTHING},
        {"HTTP/1.1 200 O", "K\r\n\r\n", "", VALUE},
        {"HTTP/1.1 200 OK", "\n\r\n", "\r", NOTHING},
        {"HTTP/1.1 200 OK\r\nna", "me: b\r\n\r\n", ":", TOKEN},
        {"HTTP/1.1 200 OK\r\nname: b", "b\r\n\r\n", "", VALUE},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1", "\r\n\r\n", "0123456789 \t", NOTHING},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "\r\n\r\n", " \t", NOTHING},
    };
    (void)state;
    check_places(places, ARRAY_LEN(places), response);
}

#define HOST "Host: a\r\n"
#define POST "POST / HTTP/1.1\r\n" HOST

static void requests_that_say_two_things(void **state)
{
    static const struct {
        const char *text;
        enum problem problem;
    } cases[] = {
        {POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
         PROBLEM_NOT_IMPLEMENTED},
        {POST "Transfer-Encoding: chunked, chunked\r\n\r\n", PROBLEM_NOT_IMPLEMENTED},
        {POST "Transfer-Encoding: chunked,\r\n\r\n", PROBLEM_NOT_IMPLEMENTED},
        {POST "Transfer-Encoding: xchunked\r\n\r\n", PROBLEM_NOT_IMPLEMENTED},
        {POST "Transfer-Encoding: chunkedx\r\n\r\n", PROBLEM_NOT_IMPLEMENTED},
        {POST "Transfer-Encoding: \"chunked\"\r\n\r\n", PROBLEM_NOT_IMPLEMENTED},
        {POST "Transfer-Encoding: chunked;q=1\r\n\r\n", PROBLEM_NOT_IMPLEMENTED},
        {POST "Transfer-Encoding: identity\r\n\r\n", PROBLEM_NOT_IMPLEMENTED},
        {POST "Transfer-Encoding: gzip, chunked\r\n\r\n", PROBLEM_NOT_IMPLEMENTED},
        {POST "Transfer-Encoding: chunked, gzip\r\n\r\n", PROBLEM_NOT_IMPLEMENTED},
        {POST "Transfer-Encoding:\r\n\r\n", PROBLEM_NOT_IMPLEMENTED},
        {POST "Transfer-Encoding : chunked\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST " Transfer-Encoding: chunked\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Transfer-Encoding:\r\n chunked\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Transfer-Encoding: chunked\nContent-Length: 4\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Transfer-Encoding: CHUNKED\r\n\r\n", PROBLEM_NONE},
        {"POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: 3, 3\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: 3,4\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: +3\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: -3\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: 0x3\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: 3_0\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: 3 0\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: 3.0\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: \"3\"\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length:\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: 9223372036854775808\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: 18446744073709551617\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: 99999999999999999999999999\r\n\r\n", PROBLEM_BAD_REQUEST},
        {POST "Content-Length: 000000000000000000000000003\r\n\r\n", PROBLEM_BAD_REQUEST},
        {"GET / HTTP/1.1\r\n\r\n", PROBLEM_BAD_REQUEST},
        {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", PROBLEM_BAD_REQUEST},
        {"GET / HTTP/1.1\r\n" HOST "hOST: b\r\n\r\n", PROBLEM_BAD_REQUEST},
        {"GET / HTTP/1.0\r\n" HOST "Host: b\r\n\r\n", PROBLEM_BAD_REQUEST},
        {"GET / HTTP/1.0\r\n\r\n", PROBLEM_NONE},
        {"GET /\r\n", PROBLEM_BAD_REQUEST},
        {"GET / HTTP/0.9\r\n" HOST "\r\n", PROBLEM_VERSION_NOT_SUPPORTED},
        {"GET / HTTP/1.2\r\n" HOST "\r\n", PROBLEM_VERSION_NOT_SUPPORTED},
        {"GET / HTTP/2.0\r\n" HOST "\r\n", PROBLEM_VERSION_NOT_SUPPORTED},
        {"GET / HTTP/11.1\r\n" HOST "\r\n", PROBLEM_BAD_REQUEST},
        {"GET / http/1.1\r\n" HOST "\r\n", PROBLEM_BAD_REQUEST},
        {"GET / HTTP/1.1 \r\n" HOST "\r\n", PROBLEM_BAD_REQUEST},
        {"GET / HTTP/1.1\r\n\r\nHost: a\r\n\r\n", PROBLEM_BAD_REQUEST},
        {" GET / HTTP/1.1\r\n" HOST "\r\n", PROBLEM_BAD_REQUEST},
        {"\nGET / HTTP/1.1\r\n" HOST "\r\n", PROBLEM_BAD_REQUEST},
        {"\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", PROBLEM_BAD_REQUEST},
        {"\r\nGET / HTTP/1.1\r\n" HOST "\r\n", PROBLEM_NONE},
        {"GET\t/ HTTP/1.1\r\n" HOST "\r\n", PROBLEM_BAD_REQUEST},
        {"GET / HTTP/1.1\r\n X: folded\r\n" HOST "\r\n", PROBLEM_BAD_REQUEST},
        {"GET / HTTP/1.1\r\n" HOST "X: a\r\n\tfolded\r\n\r\n", PROBLEM_BAD_REQUEST},
        {"GET / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n", PROBLEM_EXPECTATION_FAILED},
        {"GET / HTTP/1.1\r\n" HOST "Expect: 100-continue, x\r\n\r\n", PROBLEM_EXPECTATION_FAILED},
        {"GET / HTTP/1.1\r\n" HOST "Expect:\r\n\r\n", PROBLEM_EXPECTATION_FAILED},
        {"0123456789012345678901234567890123 / HTTP/1.1\r\n" HOST "\r\n", PROBLEM_BAD_REQUEST},
        {POST "Connection: 1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3\r\n"
              "\r\n",
         PROBLEM_BAD_REQUEST},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http1_head head;
        enum problem problem = request(cases[i].text, strlen(cases[i].text), &head);
        if (problem != cases[i].problem)
            fail_msg("%u instead of %u: %s", problem, cases[i].problem, cases[i].text);
    }
}

static void responses_that_say_two_things(void **state)
{
#define OK "HTTP/1.1 200 OK\r\n"

    static const struct {
        const char *text;
        bool accepted;
        enum http1_body_kind body;
    } cases[] = {
        {OK "\r\n", true, BODY_CLOSE},
        {OK "Content-Length: 0\r\n\r\n", true, BODY_LENGTH},
        {OK "Transfer-Encoding: chunked\r\n\r\n", true, BODY_CHUNKED},
        {"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", true, BODY_NONE},
        {"HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n", true, BODY_NONE},
        {"HTTP/1.1 200\r\n\r\n", true, BODY_CLOSE},
        {OK "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", false, BODY_NONE},
        {OK "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", false, BODY_NONE},
        {OK "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", false, BODY_NONE},
        {OK "Content-Length: 1, 1\r\n\r\n", false, BODY_NONE},
        {OK "Content-Length: -1\r\n\r\n", false, BODY_NONE},
        {OK "Content-Length: 99999999999999999999\r\n\r\n", false, BODY_NONE},
        {OK "Transfer-Encoding: gzip\r\n\r\n", false, BODY_NONE},
        {OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", false, BODY_NONE},
        {OK "Transfer-Encoding: gzip, chunked\r\n\r\n", false, BODY_NONE},
        {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, BODY_NONE},
        {"HTTP/1.1 99 OK\r\n\r\n", false, BODY_NONE},
        {"HTTP/1.1 600 OK\r\n\r\n", false, BODY_NONE},
        {"HTTP/1.1 099 OK\r\n\r\n", false, BODY_NONE},
        {"HTTP/2 200 OK\r\n\r\n", false, BODY_NONE},
        {"HTTP/1.2 200 OK\r\n\r\n", false, BODY_NONE},
        {"ICY 200 OK\r\n\r\n", false, BODY_NONE},
        {"\r\nHTTP/1.1 200 OK\r\n\r\n", false, BODY_NONE},
        {"HTTP/1.1 200 OK\n\n", false, BODY_NONE},
        {OK "A: b\r\n c\r\n\r\n", false, BODY_NONE},
        {OK "A : b\r\n\r\n", false, BODY_NONE},
        {OK "A: b\nC: d\r\n\r\n", false, BODY_NONE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http1_head head;
        enum problem problem = response(cases[i].text, strlen(cases[i].text), &head);
        if (problem != (cases[i].accepted ? PROBLEM_NONE : PROBLEM_BAD_GATEWAY))
            fail_msg("%u: %s", problem, cases[i].text);
        if (cases[i].accepted && head.body != cases[i].body)
            fail_msg("body %d: %s", (int)head.body, cases[i].text);
    }
}

/* Bytes of payload, -1: refused, -2: not complete. */
static int chunked(const char *text, size_t step)
{
    struct http1_body body;
    size_t len = strlen(text), at = 0, payload = 0;
    AUTO_FREE char *copy = exact(text, len);
    http1_body_init(&body, BODY_CHUNKED, 0);
    int result = -2;
    while (at < len && result == -2) {
        size_t n = len - at < step ? len - at : step, consumed, data_len;
        char *data;
        if (http1_body_read(&body, copy + at, n, &consumed, &data, &data_len))
            result = -1;
        else if (body.ended)
            result = (int)(payload += data_len);
        else
            payload += data_len;
        at += n;
    }
    if (result >= 0 && body.chunks.trailers_len &&
        http1_check_trailers(body.chunks.trailers, &body.chunks.trailers_len))
        result = -1;
    http1_body_free(&body);
    return result;
}

static void chunks(void **state)
{
    static const struct {
        const char *text;
        int payload;
    } cases[] = {
        {"0\r\n\r\n", 0},
        {"3\r\nabc\r\n0\r\n\r\n", 3},
        {"a\r\n0123456789\r\n00\r\n\r\n", 10},
        {"A;x=y;z=\"q\"\r\n0123456789\r\n0\r\n\r\n", 10},
        {"0\r\nX: y\r\n\r\n", 0},
        {"0x3\r\nabc\r\n0\r\n\r\n", -1},
        {"3_0\r\n", -1},
        {"+3\r\nabc\r\n", -1},
        {"-3\r\nabc\r\n", -1},
        {" 3\r\nabc\r\n", -1},
        {"3 \r\nabc\r\n", -1},
        {"3\t\r\nabc\r\n", -1},
        {"3 ;x\r\nabc\r\n", -1},
        {"3\nabc\r\n", -1},
        {"3\rabc\r\n", -1},
        {"3\r\nabc\n0\r\n\r\n", -1},
        {"3\r\nabc0\r\n\r\n", -1},
        {"3\r\nabcd\r\n0\r\n\r\n", -1},
        {"3\r\nab\r\n0\r\n\r\n", -1},
        {"\r\n3\r\nabc\r\n", -1},
        {";x\r\n", -1},
        {"g\r\n", -1},
        {"3;x\ny\r\nabc\r\n", -1},
        {"3;x\ry\r\nabc\r\n", -1},
        {"3;\x01\r\nabc\r\n", -1},
        {"fffffffffffffffff\r\n", -1},
        {"10000000000000000\r\n", -1},
        {"0000000000000003\r\nabc\r\n", -1},
        {"0\r\n\n", -1},
        {"0\r\nX: y\n\r\n", -1},
        {"0\r\nX : y\r\n\r\n", -1},
        {"0\r\n X: y\r\n\r\n", -1},
        {"0\r\nX: y\r\n z\r\n\r\n", -1},
        {"0\r\nbad\r\n\r\n", -1},
        {"3\r\nabc\r\n", -2},
        {"0\r\n", -2},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t step = 1; step < 40; step += 3)
            if (chunked(cases[i].text, step) != cases[i].payload)
                fail_msg("%d in steps of %zu: %s", chunked(cases[i].text, step), step,
                         cases[i].text);
}

static void extensions_and_trailers_are_bounded(void **state)
{
    static char text[64 * 1024];
    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text, "3;", 2);
    assert_int_equal(chunked(text, 512), -1);
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text, "0\r\n", 3);
    assert_int_equal(chunked(text, 512), -1);
    size_t at = 0;
    while (at < sizeof(text) - 64)
        at += (size_t)sprintf(text + at, "1;%.40s\r\na\r\n",
                              "0123456789012345678901234567890123456789");
    text[at] = '\0';
    assert_int_equal(chunked(text, 512), -1);
}

/* Origins that hand headers on as variables cannot tell X_Forwarded_For from X-Forwarded-For. */
static void names_in_disguise_are_dropped(void **state)
{
    static const struct {
        const char *name;
        bool dropped;
        enum http1_name id;
    } cases[] = {
        {"Content_Length", true, NAME_OTHER},
        {"transfer_encoding", true, NAME_OTHER},
        {"X_Forwarded-For", true, NAME_OTHER},
        {"X_Forwarded_Port", true, NAME_OTHER},
        {"octroi_tier", true, NAME_OTHER},
        {"X-Forwarded-Port", false, NAME_X_FORWARDED_OTHER},
        {"X-Forwarded-For", false, NAME_X_FORWARDED_FOR},
        {"X-Forwarded", false, NAME_OTHER},
        {"X_Mine", false, NAME_OTHER},
        {"_", false, NAME_OTHER},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[128];
        struct http1_head head;
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST "%s: chunked\r\n\r\n",
                 cases[i].name);
        assert_int_equal(request(text, strlen(text), &head), PROBLEM_NONE);
        assert_int_equal(head.body, BODY_NONE);
        if (head.fields[1].dropped != cases[i].dropped || head.fields[1].id != cases[i].id)
            fail_msg("%s", cases[i].name);
    }
}

static void late_fields_of_the_head_are_removed(void **state)
{
    char text[] = "X-A: b\r\nContent-Length: 4\r\nx_forwarded_for: 1\r\nSet-Cookie: c\r\n"
                  "Host: h\r\nX-Forwarded-Port: 1\r\nX-C: d\r\n";
    size_t len = strlen(text);
    (void)state;
    assert_int_equal(http1_check_trailers(text, &len), 0);
    assert_int_equal(len, 16);
    assert_memory_equal(text, "X-A: b\r\nX-C: d\r\n", 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_of_a_request),
        cmocka_unit_test(every_byte_of_a_response),
        cmocka_unit_test(requests_that_say_two_things),
        cmocka_unit_test(responses_that_say_two_things),
        cmocka_unit_test(chunks),
        cmocka_unit_test(extensions_and_trailers_are_bounded),
        cmocka_unit_test(names_in_disguise_are_dropped),
        cmocka_unit_test(late_fields_of_the_head_are_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
