/* Amounts: exact or refused. What is written is read back at every power of two, where carries
 * are. */
#include "libcommon/money.h"

#include "libcommon/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static uint64_t edges[200];
static size_t edge_count;

static int make_edges(void **state)
{
    (void)state;
    edges[edge_count++] = 0;
    for (unsigned bit = 0; bit < 64; bit++) {
        edges[edge_count++] = (uint64_t)1 << bit;
        edges[edge_count++] = ((uint64_t)1 << bit) - 1;
        edges[edge_count++] = ((uint64_t)1 << bit) + 1;
    }
    edges[edge_count++] = UINT64_MAX;
    return 0;
}

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        unsigned decimals;
        int result;
        uint64_t value;
    } cases[] = {
        {"12.50", 6, 0, 12500000},
        {"0", 6, 0, 0},
        {"0.000001", 6, 0, 1},
        {"1", 0, 0, 1},
        {"007", 2, 0, 700},
        {"18446744073709551615", 0, 0, UINT64_MAX},
        {"18446744073709.551615", 6, 0, UINT64_MAX},
        {"18446744073709551616", 0, -1, 0},
        {"18446744073709.551616", 6, -1, 0},
        {"1", 20, -1, 0},
        {"0", 4000000000, 0, 0},
        {"0.000", 4000000000, 0, 0},
        {"0.001", 4000000000, -1, 0},
        {"1", 4000000000, -1, 0},
        {"0.0000001", 6, -1, 0},
        {"1.0", 0, -1, 0},
        {"", 6, -1, 0},
        {".5", 6, -1, 0},
        {"5.", 6, -1, 0},
        {"-1", 6, -1, 0},
        {"+1", 6, -1, 0},
        {"1e3", 6, -1, 0},
        {" 1", 6, -1, 0},
        {"1 ", 6, -1, 0},
        {"1,000", 6, -1, 0},
        {"1.2.3", 6, -1, 0},
        {"0x10", 6, -1, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t value = 0;
        if (money_parse(cases[i].text, cases[i].decimals, &value) != cases[i].result ||
            value != cases[i].value)
            fail_msg("%s with %u decimals: %llu", cases[i].text, cases[i].decimals,
                     (unsigned long long)value);
    }
}

static void test_format(void **state)
{
    static const struct {
        uint64_t amount;
        unsigned decimals;
        const char *text;
    } cases[] = {
        {12500000, 6, "12.5"},
        {1, 6, "0.000001"},
        {0, 6, "0"},
        {1000000, 6, "1"},
        {100, 0, "100"},
        {UINT64_MAX, 0, "18446744073709551615"},
        {UINT64_MAX, 18, "18.446744073709551615"},
        {UINT64_MAX, 36, "0.000000000000000018446744073709551615"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[40];
        money_format(cases[i].amount, cases[i].decimals, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < edge_count; i++) {
        for (unsigned decimals = 0; decimals <= 36; decimals++) {
            char text[40];
            uint64_t back = 0;
            money_format(edges[i], decimals, text);
            assert_int_equal(money_parse(text, decimals, &back), 0);
            assert_int_equal(back, edges[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_round_trip),
    };

    return cmocka_run_group_tests(tests, make_edges, NULL);
}
