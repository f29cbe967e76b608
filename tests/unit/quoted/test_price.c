/* price_exact against long arithmetic that is done digit by digit. */
#include "services/quoted/price.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A natural number in base 10000, least significant first: slow and plain. */
struct big {
    uint32_t digit[24];
};

static struct big big_from(uint64_t value)
{
    struct big out = {{0}};
    for (size_t i = 0; value > 0; value /= 10000)
        out.digit[i++] = (uint32_t)(value % 10000);
    return out;
}

static struct big big_mul(const struct big *a, const struct big *b)
{
    struct big out = {{0}};
    for (size_t i = 0; i < 24; i++) {
        uint64_t carry = 0;
        for (size_t j = 0; i + j < 24; j++) {
            uint64_t sum = out.digit[i + j] + (uint64_t)a->digit[i] * b->digit[j] + carry;
            out.digit[i + j] = (uint32_t)(sum % 10000);
            carry = sum / 10000;
        }
    }
    return out;
}

static struct big product3(uint64_t a, uint64_t b, uint64_t c)
{
    struct big x = big_from(a), y = big_from(b), z = big_from(c);
    struct big xy = big_mul(&x, &y);
    return big_mul(&xy, &z);
}

static bool big_equal(const struct big *a, const struct big *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static bool big_less(const struct big *a, const struct big *b)
{
    for (size_t i = 24; i-- > 0;)
        if (a->digit[i] != b->digit[i])
            return a->digit[i] < b->digit[i];
    return false;
}

/* unit * days * 86400 * (100 - discount) == price * period * 100 */
static bool is_price(const struct price_rule *rule, uint64_t price)
{
    struct big left =
        product3(rule->unit, (uint64_t)(rule->days * PRICE_DAY), (uint64_t)(100 - rule->discount));
    struct big right = product3(price, (uint64_t)rule->period_s, 100);
    return big_equal(&left, &right);
}

/* No whole number of 64 bits is the price: the product lies strictly between two, or above all. */
static bool has_no_price(const struct price_rule *rule)
{
    struct big num =
        product3(rule->unit, (uint64_t)(rule->days * PRICE_DAY), (uint64_t)(100 - rule->discount));
    struct big top = product3(UINT64_MAX, (uint64_t)rule->period_s, 100);
    uint64_t low = 0, high = UINT64_MAX;
    if (big_less(&top, &num))
        return true;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        struct big at = product3(middle, (uint64_t)rule->period_s, 100);
        if (big_less(&at, &num))
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 || !is_price(rule, low);
}

static void table(void **state)
{
    static const struct {
        struct price_rule rule;
        int rc;
        uint64_t price;
    } rows[] = {
        {{5000000, 30 * PRICE_DAY, 30, 0}, 0, 5000000},
        {{5000000, 30 * PRICE_DAY, 360, 15}, 0, 51000000},
        {{1, 30 * PRICE_DAY, 30, 0}, 0, 1},
        {{1, 30 * PRICE_DAY, 30, 1}, -1, 0},
        {{10, 30 * PRICE_DAY, 31, 0}, -1, 0},
        {{1, 30 * PRICE_DAY, 15, 0}, -1, 0},
        {{2, 30 * PRICE_DAY, 15, 0}, 0, 1},
        {{UINT64_MAX, PRICE_DAY, 1, 0}, 0, UINT64_MAX},
        {{UINT64_MAX, PRICE_DAY, 2, 0}, -1, 0},
        {{UINT64_MAX / 2, PRICE_DAY, 2, 0}, 0, UINT64_MAX - 1},
        {{UINT64_MAX, PRICE_DAY, 3660, 0}, -1, 0},
        {{UINT64_MAX, 60, 3660, 99}, -1, 0},
        {{100, PRICE_DAY, 1, 100}, -1, 0},
        {{0, PRICE_DAY, 1, 0}, -1, 0},
        {{7, 60, 1, 0}, 0, 7 * 1440},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t price = 77;
        struct err err;
        assert_int_equal(price_exact(&rows[i].rule, &price, &err), rows[i].rc);
        assert_true(price == (rows[i].rc == 0 ? rows[i].price : 77));
    }
}

static uint64_t draw(void)
{
    uint64_t value = ((uint64_t)(uint32_t)mrand48() << 32) | (uint32_t)mrand48();
    return value >> (lrand48() % 64);
}

static void agrees_with_long_arithmetic(void **state)
{
    static const int64_t periods[] = {60, 3600, PRICE_DAY, 7 * PRICE_DAY, 30 * PRICE_DAY, 31536000};
    size_t priced = 0;
    (void)state;
    srand48(20261121);
    for (int i = 0; i < 20000; i++) {
        struct price_rule rule = {draw(), periods[lrand48() % 6], 1 + lrand48() % 3660,
                                  lrand48() % 4 == 0 ? lrand48() % 100 : 0};
        uint64_t price;
        struct err err;
        if (price_exact(&rule, &price, &err) == 0) {
            assert_true(is_price(&rule, price));
            priced++;
        } else if (i % 16 == 0) {
            assert_true(has_no_price(&rule));
        }
    }
    assert_true(priced > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(agrees_with_long_arithmetic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
