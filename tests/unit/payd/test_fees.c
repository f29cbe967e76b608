/* The fee policy: caps, room for replacements, and numbers at the edge of what fits. */
#include "services/payd/fees.h"

#include "libcommon/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define GWEI 1000000000LL

static const struct fees_policy policy = {200 * GWEI, 2 * GWEI, 15};

static void first_offer(void **state)
{
    static const struct {
        struct fees_market market;
        bool may;
        struct fees fees;
    } cases[] = {
        {{7, 0}, true, {14, 0}},
        {{10 * GWEI, GWEI / 2}, true, {20 * GWEI + GWEI / 2, GWEI / 2}},
        {{10 * GWEI, 30 * GWEI}, true, {21 * GWEI, GWEI}}, /* half of the tip's cap */
        {{150 * GWEI, GWEI}, true, {200 * GWEI, GWEI}},    /* the cap */
        {{91 * GWEI, 0}, true, {200 * GWEI, 0}},           /* no room for more below it */
        {{90 * GWEI, 0}, true, {180 * GWEI, 0}},
        {{200 * GWEI, 0}, true, {200 * GWEI, 0}},
        {{200 * GWEI + 1, 0}, false, {0, 0}},
        {{FEES_MOST, FEES_MOST}, false, {0, 0}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fees out;
        assert_int_equal(fees_first(&policy, &cases[i].market, &out), cases[i].may);
        if (cases[i].may) {
            assert_int_equal(out.max_fee, cases[i].fees.max_fee);
            assert_int_equal(out.priority_fee, cases[i].fees.priority_fee);
        }
    }
}

static void replacement(void **state)
{
    static const struct {
        struct fees_market market;
        struct fees old;
        bool may;
        struct fees fees;
    } cases[] = {
        {{100, 0}, {1000, 100}, true, {1150, 115}},
        {{100, 0}, {1001, 101}, true, {1152, 117}}, /* rounded up */
        {{100, 0}, {14, 0}, true, {201, 1}},        /* a tip of 0 grows too; the market asks more */
        {{5000, 300}, {1000, 100}, true, {10300, 300}}, /* what the market asks for */
        {{10, 5}, {180 * GWEI, GWEI}, true, {200 * GWEI, 1150000000}}, /* 11 % to the cap */
        {{10, 5}, {190 * GWEI, GWEI}, false, {0, 0}},                  /* 5 % to the cap */
        {{10, 5}, {GWEI, 1900000000}, false, {0, 0}},                  /* the tip's cap */
        {{10, 5}, {GWEI, 1700000000}, true, {200 * GWEI, 1955000000}}, /* its last step */
        {{FEES_MOST, FEES_MOST}, {GWEI, GWEI}, true, {200 * GWEI, 2 * GWEI}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fees out;
        assert_int_equal(fees_bump(&policy, &cases[i].market, &cases[i].old, &out), cases[i].may);
        if (cases[i].may) {
            assert_int_equal(out.max_fee, cases[i].fees.max_fee);
            assert_int_equal(out.priority_fee, cases[i].fees.priority_fee);
        }
    }
}

/* Whatever the market does, each replacement is one that a node takes, and the caps hold. */
static void every_bump_is_taken_or_refused(void **state)
{
    (void)state;
    for (int64_t base = 1; base < 400 * GWEI; base = base * 3 + 1) {
        struct fees_market market = {base, base / 50};
        struct fees now, next;
        int rounds = 0;
        if (!fees_first(&policy, &market, &now))
            continue;
        assert_true(now.priority_fee <= now.max_fee);
        while (fees_bump(&policy, &market, &now, &next)) {
            assert_true(next.max_fee * 10 >= now.max_fee * 11);
            assert_true(next.priority_fee * 10 >= now.priority_fee * 11);
            assert_true(next.max_fee > now.max_fee && next.priority_fee > now.priority_fee);
            assert_true(next.max_fee <= policy.cap && next.priority_fee <= policy.priority_cap);
            assert_true(next.priority_fee <= next.max_fee);
            now = next;
            assert_true(++rounds < 300);
        }
        assert_int_equal(now.max_fee, policy.cap);
    }
}

/* Base fees rise for an hour, tips do not: replacements in the first minutes use up what the tip
 * may grow by, and the transaction must be one that is mined below the cap all the same. */
static void a_tip_at_its_cap_does_not_hold_the_price_down(void **state)
{
    (void)state;
    struct fees now, next;
    struct fees_market market = {GWEI, GWEI};
    assert_true(fees_first(&policy, &market, &now));
    while (fees_bump(&policy, &market, &now, &next)) {
        now = next;
        market.base += GWEI / 10;
    }
    assert_true(market.base < 2 * GWEI);
    market.base = 150 * GWEI;
    assert_false(fees_bump(&policy, &market, &now, &next));
    assert_true(now.max_fee > market.base);
}

/* The smallest cap of the tip that settings take leaves room for one replacement, which offers the
 * whole cap of the price. */
static void the_smallest_tip_cap_leaves_a_replacement(void **state)
{
    static const struct fees_policy least = {200 * GWEI, 1, 15};
    struct fees now, next;
    struct fees_market market = {GWEI, GWEI};
    (void)state;
    assert_true(fees_first(&least, &market, &now));
    assert_int_equal(now.priority_fee, 0);
    assert_true(fees_bump(&least, &market, &now, &next));
    assert_int_equal(next.priority_fee, 1);
    assert_int_equal(next.max_fee, 200 * GWEI);
}

static void cost(void **state)
{
    (void)state;
    assert_int_equal(fees_cost_gwei(&(struct fees){1, 0}, 21000), 1);
    assert_int_equal(fees_cost_gwei(&(struct fees){GWEI, 0}, 21000), 21000);
    assert_int_equal(fees_cost_gwei(&(struct fees){GWEI + 1, 0}, 21000), 21001);
    assert_true(fees_cost_gwei(&(struct fees){1000000 * GWEI, 0}, 30000000) >= 30000000000000);
    assert_int_equal(fees_cost_gwei(&(struct fees){FEES_MOST, 0}, FEES_MOST), FEES_MOST);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_offer),
        cmocka_unit_test(replacement),
        cmocka_unit_test(every_bump_is_taken_or_refused),
        cmocka_unit_test(a_tip_at_its_cap_does_not_hold_the_price_down),
        cmocka_unit_test(the_smallest_tip_cap_leaves_a_replacement),
        cmocka_unit_test(cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
