/* The slice rule: a table, and a model that many askers cannot make oversell or strand a quota. */
#include "services/subd/slice.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void rows(void **unused)
{
    (void)unused;

    static const struct {
        enum sub_kind kind;
        int64_t want, left, others, get;
    } table[] = {
        {SUB_REQUESTS, 100, 1000, 0, 100},     {SUB_REQUESTS, 100, 30, 0, 10},
        {SUB_REQUESTS, 100, 1, 0, 1},          {SUB_REQUESTS, 100, 0, 0, 0},
        {SUB_REQUESTS, 0, 1000, 0, 0},         {SUB_REQUESTS, -5, 1000, 0, 0},
        {SUB_REQUESTS, 100, -5, 0, 0},         {SUB_REQUESTS, 100, 1000, 1, 100},
        {SUB_REQUESTS, 100, 100, 1, 25},       {SUB_REQUESTS, 100, 3, 1, 1},
        {SUB_REQUESTS, 100, 1, 50, 1},         {SUB_BYTES, 1 << 20, 1 << 20, 3, 1 << 17},
        {SUB_BYTES, 1 << 20, 70000, 3, 65536},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        assert_int_equal(slice_amount(table[i].kind, table[i].want, table[i].left, table[i].others),
                         table[i].get);
}

/* Whoever asks in whatever order: the sum ends at the limit, exactly. */
static void the_sum_is_the_limit(void **unused)
{
    (void)unused;
    unsigned random = 1;
    for (int64_t limit = 1; limit < 2000; limit += 37) {
        int64_t left = limit, asks = 0;
        while (left > 0) {
            random = random * 1103515245 + 12345;
            int64_t got = slice_amount(SUB_REQUESTS, 1 + random % 97, left, random % 5);
            assert_in_range(got, 1, left);
            left -= got;
            assert_true(++asks <= limit);
        }
        assert_int_equal(left, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows),
        cmocka_unit_test(the_sum_is_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
