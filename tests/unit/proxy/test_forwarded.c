/* For whom a trusted proxy asks, by its Forwarded header. */
#include "libcommon/mem.h"
#include "services/proxy/forwarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void the_rightmost_that_is_not_trusted(void **state)
{
    static const struct {
        const char *value;
        const char *client; /* NULL: nobody; "": malformed */
    } cases[] = {
        {"for=192.0.2.1", "192.0.2.1"},
        {"For=\"192.0.2.1:4711\"", "192.0.2.1"},
        {"for=\"[2001:db8::1]:80\";proto=https", "2001:db8::1"},
        {"proto=http;by=10.0.0.1;for=192.0.2.1;host=\"a,b;for=6.6.6.6\"", "192.0.2.1"},
        {"for=6.6.6.6, for=192.0.2.1", "192.0.2.1"},
        {"for=6.6.6.6, for=192.0.2.1, for=10.0.0.1,\tfor=10.0.0.2", "192.0.2.1"},
        {"for=10.0.0.1, for=10.0.0.2", "10.0.0.1"},
        {"for=6.6.6.6, for=unknown", NULL},
        {"for=6.6.6.6, for=_hidden, for=10.0.0.1", "10.0.0.1"},
        {"for=6.6.6.6, proto=http", NULL},
        {"for=6.6.6.6, for=\"1.2.3.4\\\"\"", NULL},
        {"host=\"a\\\", for=6.6.6.6\";for=192.0.2.1", "192.0.2.1"},
        {"", ""},
        {"for", ""},
        {"for=", ""},
        {"for=1.2.3.4;", ""},
        {"for=1.2.3.4,", ""},
        {"for=1.2.3.4 for=5.6.7.8", ""},
        {"for=1.2.3.4;for=5.6.7.8", ""},
        {"for=[2001:db8::1]", ""},
        {"for=\"192.0.2.1", ""},
        {"host=\"a\\", ""},
    };

    const char *texts[] = {"10.0.0.0/8"};
    const struct config_list list = {texts, 1};
    struct cidr_list trusted;
    struct err err;
    (void)state;
    assert_int_equal(cidr_list_new(&list, &trusted, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct address address;
        bool known = false;
        size_t len = strlen(cases[i].value);
        char *copy = mem_alloc(len + 1); /* exactly: reading behind it is seen */
        memcpy(copy, cases[i].value, len);
        copy = mem_resize(copy, len ? len : 1, 1);
        int result = forwarded_client(h2o_iovec_init(copy, len), &trusted, &known, &address);
        free(copy);
        char text[48] = "";
        if (known)
            text[address_text(&address, text)] = '\0';
        bool malformed = cases[i].client && !cases[i].client[0];
        if (result != (malformed ? -1 : 0) ||
            (!malformed &&
             (known != (cases[i].client != NULL) || (known && strcmp(text, cases[i].client) != 0))))
            fail_msg("%s: %d, %s", cases[i].value, result, text);
    }
    cidr_list_free(&trusted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rightmost_that_is_not_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
