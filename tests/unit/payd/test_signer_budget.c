/* What the signer books: any hour ends at its limit, whatever the order, and replacements of one
 * nonce are one spend. */
#include "../common/vectors.h"

#include "services/payd/signer/budget.h"

#define HOUR BUDGET_WINDOW_MS
#define GWEI 1000000000ull

static struct budget budget;

static void begin(uint64_t limit)
{
    budget = (struct budget){.limit = limit};
}

/* A transaction that costs so many gwei at most. */
static int take(uint64_t nonce, uint64_t gwei, int64_t now_ms)
{
    struct err err = {{0}};
    struct eth_tx tx = {.nonce = nonce, .gas = 21000, .max_fee = gwei * GWEI / 21000};
    int result = budget_take(&budget, &tx, now_ms, &err);
    if (result != 0)
        assert_contains(err.msg, "an hour");
    return result;
}

static void takes_up_to_the_limit_in_any_hour(void **state)
{
    (void)state;
    begin(100);
    assert_int_equal(take(1, 60, 0), 0);
    assert_int_equal(take(2, 41, 1000), -1);
    assert_int_equal(take(2, 40, 1000), 0);
    assert_int_equal(take(3, 1, 1000), -1);
    /* The first is an hour old, the second is not. */
    assert_int_equal(take(3, 61, HOUR), -1);
    assert_int_equal(take(3, 60, HOUR), 0);
    assert_int_equal(take(4, 1, HOUR + 999), -1);
    assert_int_equal(take(4, 40, HOUR + 1000), 0);
    assert_int_equal(take(5, 1, HOUR + 1001), -1);
    assert_int_equal(take(5, 100, 3 * HOUR), 0);
}

static void counts_replacements_of_a_nonce_once(void **state)
{
    (void)state;
    begin(100);
    for (uint64_t gwei = 50; gwei <= 100; gwei++)
        assert_int_equal(take(7, gwei, (int64_t)gwei), 0);
    assert_int_equal(take(7, 101, 200), -1);
    assert_int_equal(take(8, 1, 200), -1);
    /* A cheaper one after a dearer one: either may be mined. */
    assert_int_equal(take(7, 10, 300), 0);
    assert_int_equal(take(8, 1, 400), -1);
    assert_int_equal(budget.count, 1);
    assert_int_equal(budget.entries[0].gwei, 100);
    /* It is as old as its last signature. */
    assert_int_equal(take(8, 1, HOUR + 299), -1);
    assert_int_equal(take(8, 1, HOUR + 300), 0);
}

static void books_nothing_of_what_it_refuses(void **state)
{
    (void)state;
    begin(100);
    assert_int_equal(take(1, 50, 0), 0);
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(take(1, 101 + i, 10), -1);
    assert_int_equal(take(2, 51, 10), -1);
    assert_int_equal(budget.count, 1);
    assert_int_equal(budget.entries[0].at_ms, 0);
    assert_int_equal(take(2, 50, 10), 0);
}

static void rounds_up_and_overflows_to_a_refusal(void **state)
{
    (void)state;
    struct err err;
    struct eth_tx tx = {.gas = 1, .max_fee = 1};
    begin(1);
    assert_int_equal(budget_take(&budget, &tx, 0, &err), 0);
    assert_int_equal(budget.entries[0].gwei, 1);
    tx.nonce = 1;
    assert_int_equal(budget_take(&budget, &tx, 0, &err), -1);
    tx.gas = tx.max_fee = UINT64_MAX;
    begin(UINT64_MAX - 1);
    assert_int_equal(budget_take(&budget, &tx, 0, &err), -1);
    begin(UINT64_MAX);
    assert_int_equal(budget_take(&budget, &tx, 0, &err), 0);
    tx.nonce = 2;
    assert_int_equal(budget_take(&budget, &tx, 0, &err), -1);
    tx.gas = 0;
    assert_int_equal(budget_take(&budget, &tx, 0, &err), 0);
}

static void holds_so_many_nonces(void **state)
{
    (void)state;
    begin(UINT64_MAX);
    for (uint64_t nonce = 0; nonce < BUDGET_NONCES; nonce++)
        assert_int_equal(take(nonce, 1, 0), 0);
    assert_int_equal(take(BUDGET_NONCES, 1, 1), -1);
    assert_int_equal(take(0, 2, 1), 0);
    assert_int_equal(take(BUDGET_NONCES, 1, HOUR), 0);
    assert_int_equal(budget.count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_up_to_the_limit_in_any_hour),
        cmocka_unit_test(counts_replacements_of_a_nonce_once),
        cmocka_unit_test(books_nothing_of_what_it_refuses),
        cmocka_unit_test(rounds_up_and_overflows_to_a_refusal),
        cmocka_unit_test(holds_so_many_nonces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
