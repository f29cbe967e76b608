/* The parser of requests: in every split it asks for more until all is there, and what it reads are
 * the slices that were sent. Refusals are tested over sockets too. */
#include "libcommon/mem.h"
#include "services/proxy/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIELDS 8

static const struct http1_limits limits = {.head_bytes = 512, .fields = FIELDS, .target_bytes = 64};

static enum http1_result parse(const char *text, size_t len, struct http1_head *head,
                               struct http1_error *error, char **copy)
{
    static struct http1_field fields[FIELDS];
    *head = (struct http1_head){.fields = fields};
    /* Of exactly this size: reading behind it is seen. */
    *copy = mem_alloc(len + 1);
    memcpy(*copy, text, len);
    *copy = mem_resize(*copy, len ? len : 1, 1);
    return http1_parse_request(*copy, len, &limits, head, error);
}

static void every_prefix_asks_for_more(void **state)
{
    static const char text[] = "\r\nPOST /a/b?c HTTP/1.1\r\nHost: x\r\nContent-Length:  12 \r\n"
                               "X-Long: 0123456789abcdef0123456789abcdef\t.\r\n\r\n";
    (void)state;
    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        struct http1_head head;
        struct http1_error error;
        AUTO_FREE char *copy = NULL;
        assert_int_equal(parse(text, len, &head, &error, &copy), HTTP1_MORE);
    }
    struct http1_head head;
    struct http1_error error;
    AUTO_FREE char *copy = NULL;
    assert_int_equal(parse(text, sizeof(text) - 1, &head, &error, &copy), HTTP1_DONE);
    assert_int_equal(head.len, sizeof(text) - 1);
    assert_int_equal(head.count, 3);
    assert_int_equal(head.body, BODY_LENGTH);
    assert_int_equal(head.content_length, 12);
    assert_true(head.keep_alive);
    h2o_iovec_t target = http1_slice(&head, head.target);
    assert_memory_equal(target.base, "/a/b?c", target.len);
    h2o_iovec_t value = http1_value(&head, http1_find(&head, NAME_CONTENT_LENGTH));
    assert_int_equal(value.len, 2);
}

static void heads_are_judged(void **state)
{
    static const struct {
        const char *text;
        enum problem problem; /* NONE: accepted */
        bool keep_alive;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", PROBLEM_NONE, true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", PROBLEM_NONE, false},
        {"GET / HTTP/1.0\r\n\r\n", PROBLEM_NONE, false},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", PROBLEM_NONE, true},
        {"M-SEARCH * HTTP/1.1\r\nHost: a\r\n\r\n", PROBLEM_NONE, true},
        {"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", PROBLEM_NONE, true},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: \x80\xff\r\n\r\n", PROBLEM_NONE, true},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: 0123456789abcde\x7f\r\n\r\n", PROBLEM_BAD_REQUEST, false},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: 0123456789abcdef0\x01\r\n\r\n", PROBLEM_BAD_REQUEST,
         false},
        {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", PROBLEM_VERSION_NOT_SUPPORTED, false},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", PROBLEM_VERSION_NOT_SUPPORTED, false},
        {"GET / HTTP/1.10\r\nHost: a\r\n\r\n", PROBLEM_BAD_REQUEST, false},
        {"GET / http/1.1\r\nHost: a\r\n\r\n", PROBLEM_BAD_REQUEST, false},
        {"GET / HTTP/1.1\r\n\r\n", PROBLEM_BAD_REQUEST, false},
        {"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", PROBLEM_BAD_REQUEST, false},
        {"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", PROBLEM_BAD_REQUEST, false},
        {"AVERYLONGMETHODTHATNOBODYWILLEVERUSE / HTTP/1.1\r\n", PROBLEM_BAD_REQUEST, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http1_head head;
        struct http1_error error = {.problem = PROBLEM_NONE};
        AUTO_FREE char *copy = NULL;
        enum http1_result result =
            parse(cases[i].text, strlen(cases[i].text), &head, &error, &copy);
        assert_int_equal(result, cases[i].problem ? HTTP1_ERROR : HTTP1_DONE);
        assert_int_equal(error.problem, cases[i].problem);
        if (result == HTTP1_DONE)
            assert_int_equal(head.keep_alive, cases[i].keep_alive);
    }
}

static void what_connection_names_is_dropped(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-A, host ,\r\nx-a: 1\r\n"
                               "TE: trailers\r\nX-B: 2\r\n\r\n";
    static const bool dropped[] = {false, true, true, true, false};
    struct http1_head head;
    struct http1_error error;
    AUTO_FREE char *copy = NULL;
    (void)state;
    assert_int_equal(parse(text, sizeof(text) - 1, &head, &error, &copy), HTTP1_DONE);
    http1_drop_hop_by_hop(&head);
    for (size_t i = 0; i < ARRAY_LEN(dropped); i++)
        assert_int_equal(head.fields[i].dropped, dropped[i]);
}

static void trailers_are_filtered(void **state)
{
    char lines[] = "A: b\r\nContent-Length: 3\r\nHost: x\r\nC: d\r\n";
    char bad[] = "A b\r\n";
    size_t len = sizeof(lines) - 1, bad_len = sizeof(bad) - 1;
    (void)state;
    assert_int_equal(http1_check_trailers(lines, &len), 0);
    assert_int_equal(len, 12);
    assert_memory_equal(lines, "A: b\r\nC: d\r\n", 12);
    assert_int_equal(http1_check_trailers(bad, &bad_len), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_prefix_asks_for_more),
                                       cmocka_unit_test(heads_are_judged),
                                       cmocka_unit_test(what_connection_names_is_dropped),
                                       cmocka_unit_test(trailers_are_filtered)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
