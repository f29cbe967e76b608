/* How much goes back: never less than the grant still holds, or the contract refuses, and never
 * more than it was worth. */
#include "services/payd/refunds.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void amounts(void **state)
{
    (void)state;

    static const struct {
        struct quote_terms terms;
        uint64_t paid_now;
        int64_t now_s;
        uint64_t want;
    } cases[] = {
        /* the first payment of a slot: all of it, however much was used */
        {{.start = 1000, .expiry = 11000, .paid = 500}, 500, 1000, 500},
        {{.start = 1000, .expiry = 11000, .paid = 500}, 500, 10999, 500},
        {{.start = 1000, .expiry = 11000, .paid = 500}, 500, 99999, 500},
        /* a renewal: what it holds, two minutes early and rounded up, while that is more */
        {{.start = 1000, .expiry = 11000, .paid = 1000}, 400, 900, 1000},
        {{.start = 1000, .expiry = 11000, .paid = 1000}, 400, 1120, 1000},
        {{.start = 1000, .expiry = 11000, .paid = 1000}, 400, 1130, 1000},
        {{.start = 1000, .expiry = 11000, .paid = 1000}, 400, 1131, 999},
        {{.start = 1000, .expiry = 11000, .paid = 1000}, 400, 6120, 501},
        /* and what was paid for it, when that is more */
        {{.start = 1000, .expiry = 11000, .paid = 1000}, 400, 9000, 400},
        {{.start = 1000, .expiry = 11000, .paid = 1000}, 0, 99999, 1},
        /* nothing is more than the grant was worth */
        {{.start = 1000, .expiry = 11000, .paid = 100}, 400, 1000, 100},
        {{.start = 0, .expiry = UINT32_MAX, .paid = UINT64_MAX}, 1, 0, UINT64_MAX},
        {{.start = 1000, .expiry = 11000, .paid = 0}, 0, 1000, 0},
        {{.start = 1000, .expiry = 11000, .paid = 10}, 3, -5, 10},
        {{.start = 1000, .expiry = 11000, .paid = 10}, 3, INT64_MAX, 3},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t got = refunds_amount(&cases[i].terms, cases[i].paid_now, cases[i].now_s);
        if (got != cases[i].want)
            fail_msg("case %zu: %llu, not %llu", i, (unsigned long long)got,
                     (unsigned long long)cases[i].want);
    }
}

/* For every second between, the contract's minimum at that second or up to two minutes before. */
static void the_contract_agrees(void **state)
{
    (void)state;
    const struct quote_terms terms = {.start = 5000, .expiry = 5000 + 86400, .paid = 1234567};
    for (int64_t now = 4000; now < 100000; now += 7) {
        for (int64_t lag = 0; lag <= 120; lag += 40) {
            uint64_t amount = refunds_amount(&terms, 1000, now);
            assert_true(amount >= quote_unused(&terms, (uint32_t)(now - lag)));
            assert_true(amount <= terms.paid);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(amounts),
        cmocka_unit_test(the_contract_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
