/* The growing buffer: its bytes, its NUL, its bound. */
#include "libcommon/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_adds(void **state)
{
    AUTO_BUF struct buf buf = {0};
    AUTO_FREE char *expected = mem_zalloc(3000);

    (void)state;
    buf_puts(&buf, "ab");
    buf_putc(&buf, 'c');
    buf_add(&buf, "d\0e", 3);
    buf_printf(&buf, "%d", 42);
    assert_int_equal(buf.len, 8);
    assert_memory_equal(buf.data, "abcd\0e42", 9);
    buf_clear(&buf);
    assert_string_equal(buf.data, "");
    memset(expected, 'x', 2500);
    buf_printf(&buf, "%s", expected);
    assert_string_equal(buf.data, expected);
    buf_add(&buf, NULL, 0);
    assert_int_equal(buf.len, 2500);
}

static void test_bound(void **state)
{
    AUTO_BUF struct buf buf = {.max = 4};
    AUTO_FREE char *wide = mem_zalloc(400);

    (void)state;
    memset(wide, 'w', 399);
    buf_puts(&buf, "abcd");
    assert_false(buf.overflow);
    buf_putc(&buf, 'e');
    assert_true(buf.overflow);
    assert_string_equal(buf.data, "abcd");
    buf_clear(&buf);
    buf_puts(&buf, "ab");
    buf_printf(&buf, "%s", wide);
    buf_putc(&buf, 'c'); /* would fit, but what is there stays a prefix */
    assert_true(buf.overflow);
    assert_string_equal(buf.data, "ab");
}

static void test_steal(void **state)
{
    struct buf buf = {.max = 10};

    (void)state;
    AUTO_FREE char *empty = buf_steal(&buf);
    assert_string_equal(empty, "");
    buf_puts(&buf, "text");
    AUTO_FREE char *text = buf_steal(&buf);
    assert_string_equal(text, "text");
    assert_null(buf.data);
    assert_int_equal(buf.max, 10);
    buf_puts(&buf, "more");
    buf_free(&buf);
    assert_null(buf.data);
    assert_int_equal(buf.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adds),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_steal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
