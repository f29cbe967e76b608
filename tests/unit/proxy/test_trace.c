/* traceparent is taken strictly or not at all. */
#include "services/proxy/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ID   "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

static void test_table(void **state)
{
    static const struct {
        const char *text;
        bool ok, sampled;
    } rows[] = {
        {"00-" ID "-" SPAN "-01", true, true},
        {"00-" ID "-" SPAN "-00", true, false},
        {"00-" ID "-" SPAN "-03", true, true},
        {"00-" ID "-" SPAN "-fe", true, false},
        {"00-" ID "-" SPAN "-ff", true, true},
        {"", false, false},
        {"00", false, false},
        {"00-" ID "-" SPAN, false, false},
        {"00-" ID "-" SPAN "-1", false, false},
        {"00-" ID "-" SPAN "-01 ", false, false},
        {" 00-" ID "-" SPAN "-01", false, false},
        {"00-" ID "-" SPAN "-01-", false, false},
        {"00-" ID "-" SPAN "-01-extra", false, false},
        {"01-" ID "-" SPAN "-01", false, false},
        {"ff-" ID "-" SPAN "-01", false, false},
        {"00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01", false, false},
        {"00-" ID "-00F067AA0BA902B7-01", false, false},
        {"00-" ID "-" SPAN "-0G", false, false},
        {"00-" ID "-" SPAN "-0A", false, false},
        {"00-00000000000000000000000000000000-" SPAN "-01", false, false},
        {"00-" ID "-0000000000000000-01", false, false},
        {"00-00000000000000000000000000000001-0000000000000001-01", true, true},
        {"00_" ID "-" SPAN "-01", false, false},
        {"00-" ID "_" SPAN "-01", false, false},
        {"00-" ID "-" SPAN "_01", false, false},
        {"00-4bf92f3577b34da6a3ce929d0e0e473g-" SPAN "-01", false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct trace trace = {.known = false};
        h2o_iovec_t text = h2o_iovec_init(rows[i].text, strlen(rows[i].text));
        bool ok = trace_parse(text, &trace) == 0;
        if (ok != rows[i].ok || trace.known != ok || trace.accepted != ok)
            fail_msg("%s", rows[i].text);
        assert_int_equal(trace.sampled, rows[i].sampled);
        if (!ok)
            assert_int_equal(trace.id[0], 0);
    }
}

static void test_parts(void **state)
{
    struct trace trace = {.known = false};
    (void)state;
    assert_int_equal(trace_parse(h2o_iovec_init(H2O_STRLIT("00-" ID "-" SPAN "-01")), &trace), 0);
    assert_memory_equal(trace.id, ID, TRACE_ID);
    assert_memory_equal(trace.parent, SPAN, TRACE_SPAN_ID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_parts)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
