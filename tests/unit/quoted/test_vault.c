/* Who counts as one client. What talks to Redis is tested against a real one. */
#include "services/quoted/vault.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void clients(void **state)
{
    static const char *const rows[][2] = {
        {"192.0.2.7", "192.0.2.7"},
        {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
        {"2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"},
        {"::1", "::/64"},
        {"unknown", "unknown"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[64];
        vault_client(rows[i][0], out);
        assert_string_equal(out, rows[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(clients)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
