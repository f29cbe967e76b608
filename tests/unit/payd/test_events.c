/* Events: what is refused before it can fail a transaction, and the CloudEvents form. */
#include "services/payd/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void refused(void **state)
{
    (void)state;

    static const struct {
        const char *type, *subject;
        size_t data;
    } cases[] = {
        {"payment", "0x1", 1},
        {"payment.", "0x1", 1},
        {".seen", "0x1", 1},
        {"payment.seen.twice", "0x1", 1},
        {"payment.*", "0x1", 1},
        {"payment.>", "0x1", 1},
        {"Payment.seen", "0x1", 1},
        {"pay ment.seen", "0x1", 1},
        {"payment.seen\r\n", "0x1", 1},
        {"payment.seen", "", 1},
        {"payment.seen", "0x1", EVENTS_DATA_MAX},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {{0}};
        AUTO_FREE char *text = mem_zalloc(cases[i].data + 1);
        memset(text, 'x', cases[i].data);
        json_t *data = json_pack("{s:s}", "text", text);
        assert_int_equal(event_put(NULL, 1, cases[i].type, cases[i].subject, data, &err), -1);
        assert_string_not_equal(err.msg, "");
    }
    char long_subject[202] = "";
    struct err err;
    memset(long_subject, 'x', 201);
    assert_int_equal(event_put(NULL, 1, "payment.seen", long_subject, json_object(), &err), -1);
}

static void encoded(void **state)
{
    (void)state;
    AUTO_FREE char *text = NULL;
    struct err err;
    assert_int_equal(event_encode("8b1f", "/payd/1/0xab", "payment.refund-failed", "0x12",
                                  "2026-01-01T00:00:00.000000Z", "{\"b\": 1, \"a\": \"\\u00e9\"}",
                                  &text, &err),
                     0);
    assert_string_equal(
        text, "{\"specversion\":\"1.0\",\"id\":\"8b1f\",\"source\":\"/payd/1/0xab\",\"type\":"
              "\"octroi.payment.refund-failed\",\"subject\":\"0x12\",\"time\":"
              "\"2026-01-01T00:00:00.000000Z\",\"datacontenttype\":\"application/json\",\"data\":{"
              "\"b\":1,\"a\":\"\xc3\xa9\"}}");
    AUTO_FREE char *none = NULL;
    assert_int_equal(event_encode("8b1f", "s", "t", "u", "v", "{", &none, &err), -1);
    assert_null(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(refused), cmocka_unit_test(encoded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
