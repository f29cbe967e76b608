/* Error messages: replaced, wrapped, cut, and never a danger themselves. */
#include "libcommon/err.h"

#include "libcommon/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_set_and_wrap(void **state)
{
    struct err err = {{0}};

    (void)state;
    assert_int_equal(err_set(&err, "no %s", "luck"), -1);
    assert_string_equal(err.msg, "no luck");
    assert_int_equal(err_wrap(&err, "file:%d", 7), -1);
    assert_string_equal(err.msg, "file:7: no luck");
    assert_int_equal(err_set(&err, "<%s>", err.msg), -1);
    assert_string_equal(err.msg, "<file:7: no luck>");
}

static void test_null(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, "x"), -1);
    assert_int_equal(err_wrap(NULL, "x"), -1);
}

static void test_long(void **state)
{
    struct err err = {{0}};
    char text[2000];

    (void)state;
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(err_set(&err, "%s", text), -1);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
    assert_int_equal(err_wrap(&err, "context"), -1);
    assert_int_equal(strncmp(err.msg, "context: aaa", 12), 0);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
    for (int len = 505; len < 515; len++) {
        assert_int_equal(err_set(&err, "message"), -1);
        assert_int_equal(err_wrap(&err, "%.*s", len, text), -1);
        assert_true(strlen(err.msg) < sizeof(err.msg));
        assert_int_equal(strspn(err.msg, "a"), len < 511 ? len : 511);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_and_wrap),
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
