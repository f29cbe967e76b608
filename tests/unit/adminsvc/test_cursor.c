/* Cursors come back as they went, and nothing else comes back. */
#include "services/adminsvc/cursor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void round_trip(void **state)
{
    static const char *const positions[] = {"1", "sub_0123456789abcdef0123456789abcdef",
                                            "9223372036854775807"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char cursor[CURSOR_MAX], back[64];
        cursor_encode('s', positions[i], cursor);
        assert_int_equal(cursor_decode('s', cursor, back, sizeof(back)), 0);
        assert_string_equal(back, positions[i]);
        assert_int_equal(cursor_decode('a', cursor, back, sizeof(back)), -1);
    }
}

static void refused(void **state)
{
    static const char *const bad[] = {"",
                                      "7",
                                      "73",
                                      "zz",
                                      "7331 ",
                                      "7331\n",
                                      "7300",
                                      "73003100",
                                      "7A31",
                                      "0x7331",
                                      "736161616161616161616161616161616161616161"};
    char back[16];
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(cursor_decode('s', bad[i], back, sizeof(back)), -1);
    char large[1000];
    memset(large, '7', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    assert_int_equal(cursor_decode('w', large, back, sizeof(back)), -1);
    assert_int_equal(cursor_decode('s', "7331", back, sizeof(back)), 0);
    assert_string_equal(back, "1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
