/* Events are counted as a client would dispatch them, in every split of the stream. */
#include "libcommon/mem.h"
#include "services/proxy/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void events_are_counted_in_every_split(void **state)
{
    static const struct {
        const char *in;
        unsigned events;
        const char *finish;
    } cases[] = {
        {"", 0, ""},
        {"data: a\n\n", 1, ""},
        {"data: a\r\r", 1, ""},
        {"data: a\r\n\r\n", 1, ""},
        {"data: a\r\n\r\ndata: b\n\ndata:c\r\r", 3, ""},
        {"\xef\xbb\xbf"
         "data: a\n\n",
         1, ""},
        {"\xef\xbb"
         "data: a\n\n",
         0, ""},
        {"data\n\n", 1, ""},
        {"data:\n\n", 1, ""},
        {"data:a\ndata:b\n\n", 1, ""},
        {"event: x\ndata: a\nid: 1\n\n", 1, ""},
        {"event: x\n\n", 0, ""},
        {": keep-alive\n\n", 0, ""},
        {"retry: 10\n\n", 0, ""},
        {"database: a\n\n", 0, ""},
        {" data: a\n\n", 0, ""},
        {"dat: a\n\n", 0, ""},
        {"datadata: a\n\n", 0, ""},
        {"Data: a\n\n", 0, ""},
        {"\n\n\n\n", 0, ""},
        {"\r\n\r\n", 0, ""},
        {"data: a", 0, "\n\n"},
        {"data: a\n", 0, "\n"},
        {"data: a\r", 0, "\n\n"},
        {"data: a\r\n", 0, "\n"},
        {"data: a\n\ndata: b", 1, "\n\n"},
        {": c", 0, "\n\n"},
        {"data: a\n:c\n\n", 1, ""},
        {"data: a\n\xef\xbb\xbf\n\n", 1, ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len = strlen(cases[i].in);
        for (size_t split = 0; split <= len; split++) {
            struct sse sse;
            sse_init(&sse);
            uint64_t n = sse_feed(&sse, cases[i].in, split);
            n += sse_feed(&sse, cases[i].in + split, len - split);
            assert_int_equal(n, cases[i].events);
            assert_int_equal(sse.events, cases[i].events);
            assert_string_equal(sse_finish(&sse), cases[i].finish);
        }
        struct sse bytes;
        sse_init(&bytes);
        for (size_t at = 0; at < len; at++)
            sse_feed(&bytes, cases[i].in + at, 1);
        assert_int_equal(bytes.events, cases[i].events);
    }
}

/* What is written to finish an open event ends it, so that ours stands alone. */
static void an_open_event_is_finished(void **state)
{
    static const char *const opens[] = {"", "data: a", "data: a\n", "data: a\r", ": x", "id"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(opens); i++) {
        struct sse sse;
        sse_init(&sse);
        sse_feed(&sse, opens[i], strlen(opens[i]));
        const char *finish = sse_finish(&sse);
        sse_feed(&sse, finish, strlen(finish));
        assert_false(sse.line || sse.data);
        assert_int_equal(sse_feed(&sse, "event: octroi.end\ndata: {}\n\n", 28), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_counted_in_every_split),
        cmocka_unit_test(an_open_event_is_finished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
