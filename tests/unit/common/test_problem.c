/* The table of refusals and its JSON. */
#include "libcommon/problem.h"

#include "libcommon/json.h"
#include "libcommon/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_table(void **state)
{
    (void)state;
    for (unsigned i = PROBLEM_NONE + 1; i < PROBLEM_COUNT; i++) {
        const struct problem_desc *desc = problem_get((enum problem)i);
        enum problem found = PROBLEM_NONE;
        assert_true(desc->status >= 400 && desc->status <= 599);
        assert_int_equal(strspn(desc->name, "abcdefghijklmnopqrstuvwxyz-"), strlen(desc->name));
        assert_int_equal(desc->title[strlen(desc->title) - 1], '.');
        assert_int_equal(desc->next[strlen(desc->next) - 1], '.');
        assert_int_equal(problem_find(desc->name, &found), 0);
        assert_int_equal(found, i); /* so no name stands twice */
    }
}

static void test_unknown(void **state)
{
    enum problem found = PROBLEM_NONE;

    (void)state;
    assert_int_equal(problem_find("no-such", &found), -1);
    assert_int_equal(problem_find("", &found), -1);
    assert_string_equal(problem_get((enum problem)9999)->name, "internal");
}

static void test_body(void **state)
{
    AUTO_BUF struct buf body = {0};
    AUTO_JSON json_t *json = NULL;
    struct err err = {{0}};

    (void)state;
    problem_body(&body, PROBLEM_QUOTA_EXCEEDED, "a \"b\" \\ \n \x7f \xff \xc3\xa4 \xed\xa0\x80",
                 "id");
    assert_int_equal(json_parse(body.data, body.len, &json, &err), 0);
    assert_string_equal(json_string_value(json_object_get(json, "detail")),
                        "a \"b\" \\ \n \x7f \xef\xbf\xbd \xc3\xa4 "
                        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    assert_string_equal(json_string_value(json_object_get(json, "type")),
                        "https://octroi.dev/problems/quota-exceeded");
    assert_int_equal(json_integer_value(json_object_get(json, "status")), 429);
    assert_string_equal(json_string_value(json_object_get(json, "request_id")), "id");
    assert_true(json_is_false(json_object_get(json, "retryable")));
    assert_true(json_is_string(json_object_get(json, "title")));
    assert_true(json_is_string(json_object_get(json, "next")));
}

static void test_body_without_detail(void **state)
{
    AUTO_BUF struct buf body = {0};
    AUTO_JSON json_t *json = NULL;
    struct err err = {{0}};

    (void)state;
    problem_body(&body, PROBLEM_OVERLOADED, NULL, NULL);
    assert_int_equal(json_parse(body.data, body.len, &json, &err), 0);
    assert_null(json_object_get(json, "detail"));
    assert_null(json_object_get(json, "request_id"));
}

static void test_utf8(void **state)
{
    static const struct {
        const char *text;
        size_t len;
        size_t expected;
    } cases[] = {
        {"a", 1, 1},
        {"\xc3\xa4", 2, 2},
        {"\xc3\xa4", 1, 0},
        {"\xe2\x82\xac", 3, 3},
        {"\xe2\x82\xac", 2, 0},
        {"\xf0\x9f\x98\x80", 4, 4},
        {"\xf4\x8f\xbf\xbf", 4, 4},
        {"\xf4\x90\x80\x80", 4, 0},
        {"\xf5\x80\x80\x80", 4, 0},
        {"\xc0\x80", 2, 0},
        {"\xc1\xbf", 2, 0},
        {"\xe0\x9f\xbf", 3, 0},
        {"\xe0\xa0\x80", 3, 3},
        {"\xf0\x8f\xbf\xbf", 4, 0},
        {"\xed\xa0\x80", 3, 0},
        {"\xed\x9f\xbf", 3, 3},
        {"\x80", 1, 0},
        {"\xc3\x41", 2, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(utf8_len(cases[i].text, cases[i].len), cases[i].expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table), cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_body),  cmocka_unit_test(test_body_without_detail),
        cmocka_unit_test(test_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
