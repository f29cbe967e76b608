/* Parsing of hostile JSON and reading of members. */
#include "vectors.h"

#include "libcommon/json.h"

static void refuses(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        size_t len;
        const char *error;
    } cases[] = {
        {"", 0, "not JSON"},
        {"{", 1, "not JSON"},
        {"{} {}", 5, "not JSON"},
        {"{}x", 3, "not JSON"},
        {"\"text\"", 6, "not JSON"},
        {"{\"a\":1,\"a\":2}", 13, "not JSON"},
        {"{\"a\":\"\\u0000\"}", 14, "not JSON"},
        {"{\"a\":\"x\0y\"}", 11, "not JSON"},
        {"{\"a\":\"\xff\"}", 9, "not JSON"},
        {"{\"a\":99999999999999999999}", 26, "not JSON"},
        {"{\"a\":NaN}", 9, "not JSON"},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", 66,
         "deeper than 32"},
        {"\"\\", 2, "not JSON"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err;
        json_t *json = NULL;
        assert_int_equal(json_parse(cases[i].text, cases[i].len, &json, &err), -1);
        assert_null(json);
        assert_contains(err.msg, cases[i].error);
    }
}

static void accepts_brackets_in_strings(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"{{{\"}";
    AUTO_JSON json_t *json = NULL;
    struct err err;
    assert_int_equal(json_parse(text, strlen(text), &json, &err), 0);
    AUTO_FREE char *again = json_text(json);
    assert_string_equal(again, text);
}

static void an_error_repeats_no_input(void **state)
{
    (void)state;
    static const char text[] = "{\"password\": secret}";
    json_t *json;
    struct err err;
    assert_int_equal(json_parse(text, strlen(text), &json, &err), -1);
    assert_null(strstr(err.msg, "secret"));
}

static void reads_members(void **state)
{
    (void)state;
    static const char text[] =
        "{\"i\":5,\"s\":\"abc\",\"b\":true,\"o\":{},\"l\":[1,2],\"r\":1.5,\"n\":null}";
    AUTO_JSON json_t *json = NULL;
    struct err err;
    int64_t i;
    const char *s;
    bool b;
    const json_t *child;
    assert_int_equal(json_parse(text, strlen(text), &json, &err), 0);
    assert_int_equal(json_get_int(json, "i", 5, 5, &i, &err), 0);
    assert_int_equal(i, 5);
    assert_int_equal(json_get_str(json, "s", 3, &s, &err), 0);
    assert_string_equal(s, "abc");
    assert_int_equal(json_get_bool(json, "b", &b, &err), 0);
    assert_true(b);
    assert_int_equal(json_get_object(json, "o", &child, &err), 0);
    assert_int_equal(json_get_array(json, "l", 2, &child, &err), 0);

    assert_int_equal(json_get_int(json, "i", 6, 9, &i, &err), -1);
    assert_string_equal(err.msg, "i: must be 6 to 9");
    assert_int_equal(json_get_int(json, "r", 0, 9, &i, &err), -1);
    assert_string_equal(err.msg, "r: must be an integer");
    assert_int_equal(json_get_int(json, "n", 0, 9, &i, &err), -1);
    assert_int_equal(json_get_int(json, "absent", 0, 9, &i, &err), -1);
    assert_string_equal(err.msg, "absent: missing");
    assert_int_equal(json_get_str(json, "s", 2, &s, &err), -1);
    assert_int_equal(json_get_str(json, "i", 9, &s, &err), -1);
    assert_int_equal(json_get_bool(json, "i", &b, &err), -1);
    assert_int_equal(json_get_array(json, "l", 1, &child, &err), -1);
    assert_int_equal(json_get_object(json, "l", &child, &err), -1);
    assert_int_equal(json_get_array(json, "o", 1, &child, &err), -1);
}

static void names_unknown_members(void **state)
{
    (void)state;
    static const char *const keys[] = {"a", "b", NULL};
    AUTO_JSON json_t *good = json_pack("{s:i}", "b", 1);
    AUTO_JSON json_t *bad = json_pack("{s:i, s:i}", "b", 1, "evil", 2);
    struct err err;
    assert_int_equal(json_only(good, keys, &err), 0);
    assert_int_equal(json_only(bad, keys, &err), -1);
    assert_string_equal(err.msg, "evil: unknown member");
}

/* Keys and what stands in strings are no values. */
static void values_are_counted(void **state)
{
    static const char text[] = "{\"a,[{\":[1,2,{}],\"b\":\"\\\",{\"}";
    AUTO_JSON json_t *json = NULL;
    struct err err;
    (void)state;
    assert_int_equal(json_parse_most(text, strlen(text), 7, &json, &err), 0);
    json_cleanup(&json);
    assert_int_equal(json_parse_most(text, strlen(text), 6, &json, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_counted),
        cmocka_unit_test(refuses),
        cmocka_unit_test(accepts_brackets_in_strings),
        cmocka_unit_test(an_error_repeats_no_input),
        cmocka_unit_test(reads_members),
        cmocka_unit_test(names_unknown_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
