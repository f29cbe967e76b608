/* Terms against a table, and against the contract's own rules over random slots. */
#include "services/quoted/terms.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW   1795000200u /* a multiple of 300 */
#define DAY   86400u
#define MONTH (30 * DAY)

static struct terms_wish wish(void)
{
    return (struct terms_wish){.bucket = NOW,
                               .ttl = 300,
                               .duration_s = MONTH,
                               .price = 3000,
                               .plan = 2,
                               .rate = 10,
                               .bandwidth = 64,
                               .quota = 1000,
                               .token = 1};
}

static struct quote_terms running(void)
{
    return (struct quote_terms){.start = NOW - 15 * DAY,
                                .expiry = NOW + 15 * DAY,
                                .paid = 1001,
                                .plan = 2,
                                .seq = 4,
                                .token = 1,
                                .valid_minutes = 9};
}

static void new_subscription(void **state)
{
    struct quote_terms slot = {0};
    struct terms_offer offer;
    struct terms_wish ask = wish();
    (void)state;
    assert_int_equal(terms_offer(&ask, &slot, &offer), TERMS_OK);
    assert_int_equal(offer.kind, TERMS_NEW);
    assert_int_equal(offer.terms.start, NOW);
    assert_int_equal(offer.terms.expiry, NOW + MONTH);
    assert_int_equal(offer.terms.paid, 3000);
    assert_int_equal(offer.due, 3000);
    assert_int_equal(offer.terms.seq, 1);
    assert_int_equal(offer.terms.plan, 2);
    assert_int_equal(offer.terms.rate, 10);
    assert_int_equal(offer.terms.bandwidth, 64);
    assert_int_equal(offer.terms.quota, 1000);
    assert_int_equal(offer.terms.token, 1);
    assert_int_equal(quote_valid_until(&offer.terms), NOW + 600 + 59);
}

static void expired_or_refunded_slot(void **state)
{
    struct quote_terms ended = running(), refunded = {.seq = 7};
    struct terms_offer offer;
    struct terms_wish ask = wish();
    (void)state;
    ended.expiry = NOW; /* ends exactly now: nothing is left of it */
    ended.token = 2;
    assert_int_equal(terms_offer(&ask, &ended, &offer), TERMS_OK);
    assert_int_equal(offer.kind, TERMS_NEW);
    assert_int_equal(offer.terms.seq, 5);
    assert_int_equal(offer.due, 3000);
    assert_int_equal(terms_offer(&ask, &refunded, &offer), TERMS_OK);
    assert_int_equal(offer.kind, TERMS_NEW);
    assert_int_equal(offer.terms.seq, 8);
}

static void renewal(void **state)
{
    struct quote_terms slot = running();
    struct terms_offer offer;
    struct terms_wish ask = wish();
    (void)state;
    assert_int_equal(terms_offer(&ask, &slot, &offer), TERMS_OK);
    assert_int_equal(offer.kind, TERMS_RENEWAL);
    assert_int_equal(offer.terms.start, slot.start);
    assert_int_equal(offer.terms.expiry, slot.expiry + MONTH);
    assert_int_equal(offer.terms.paid, 4001);
    assert_int_equal(offer.due, 3000);
    assert_int_equal(offer.terms.seq, 5);
}

static void change_of_plan(void **state)
{
    struct quote_terms slot = running();
    struct terms_offer offer;
    struct terms_wish ask = wish();
    (void)state;
    ask.plan = 3;
    assert_int_equal(terms_offer(&ask, &slot, &offer), TERMS_OK);
    assert_int_equal(offer.kind, TERMS_CHANGE);
    assert_int_equal(offer.terms.start, NOW);
    assert_int_equal(offer.terms.expiry, NOW + MONTH);
    assert_int_equal(offer.terms.paid, 3000);
    assert_int_equal(offer.held, 500); /* 500.5 is rounded against the buyer */
    assert_int_equal(offer.due, 2500);
    ask.price = 500;
    assert_int_equal(terms_offer(&ask, &slot, &offer), TERMS_OK);
    assert_int_equal(offer.due, 0);
    ask.price = 499;
    assert_int_equal(terms_offer(&ask, &slot, &offer), TERMS_HOLDS_MORE);
    assert_int_equal(offer.held, 500);
}

/* Another instance's clock, or a purchase in this very bucket: the slot starts at or after ours. */
static void slot_that_starts_later(void **state)
{
    struct quote_terms slot = running();
    struct terms_offer offer;
    struct terms_wish ask = wish();
    (void)state;
    ask.plan = 3;
    slot.start = NOW + 60;
    assert_int_equal(terms_offer(&ask, &slot, &offer), TERMS_OK);
    assert_int_equal(offer.terms.start, NOW + 60);
    assert_int_equal(offer.held, 1001);
    assert_int_equal(offer.due, 1999);
}

static void refusals(void **state)
{
    struct quote_terms slot = running();
    struct terms_offer offer;
    struct terms_wish ask = wish();
    (void)state;
    slot.token = 2;
    assert_int_equal(terms_offer(&ask, &slot, &offer), TERMS_OTHER_TOKEN);
    slot = running();
    slot.seq = UINT16_MAX;
    assert_int_equal(terms_offer(&ask, &slot, &offer), TERMS_NO_SEQ);
    slot = running();
    slot.paid = UINT64_MAX - 2999;
    assert_int_equal(terms_offer(&ask, &slot, &offer), TERMS_TOO_MUCH);
    slot = running();
    slot.expiry = (uint32_t)(NOW + TERMS_MAX_AHEAD - MONTH);
    assert_int_equal(terms_offer(&ask, &slot, &offer), TERMS_OK);
    slot.expiry++;
    assert_int_equal(terms_offer(&ask, &slot, &offer), TERMS_TOO_LONG);
    slot.expiry = UINT32_MAX;
    assert_int_equal(terms_offer(&ask, &slot, &offer), TERMS_TOO_LONG);
}

static void buckets(void **state)
{
    (void)state;
    assert_int_equal(terms_bucket(NOW, 300), NOW);
    assert_int_equal(terms_bucket(NOW + 299, 300), NOW);
    assert_int_equal(terms_bucket(NOW + 300, 300), NOW + 300);
}

static uint64_t draw64(void)
{
    uint64_t value = ((uint64_t)(uint32_t)mrand48() << 32) | (uint32_t)mrand48();
    return value >> (lrand48() % 64);
}

static uint32_t near_now(void)
{
    return NOW - 40 * DAY + (uint32_t)(lrand48() % (80 * DAY));
}

/* What SubscriptionManager.sol demands when it is paid, at any second in which it is payable. */
static void contract_accepts(const struct quote_terms *slot, const struct terms_offer *offer)
{
    const struct quote_terms *terms = &offer->terms;
    uint64_t held = slot->token == terms->token ? quote_unused(slot, terms->start) : 0;
    assert_int_equal(terms->seq, slot->seq + 1);
    assert_true(terms->start < terms->expiry);
    assert_true(terms->expiry > quote_valid_until(terms));
    assert_true(terms->paid >= held);
    assert_true(terms->paid - held == offer->due);
}

static void random_slots(void **state)
{
    size_t made = 0;
    (void)state;
    srand48(4441);
    for (int i = 0; i < 200000; i++) {
        struct terms_wish ask = wish();
        struct quote_terms slot = {.start = near_now(),
                                   .expiry = near_now(),
                                   .paid = draw64(),
                                   .plan = (uint16_t)(lrand48() % 4),
                                   .seq = (uint16_t)lrand48(),
                                   .token = (uint8_t)(1 + lrand48() % 2)};
        struct terms_offer offer;
        if (slot.expiry <= slot.start) /* the contract holds no such slot */
            slot = (struct quote_terms){.seq = slot.seq};
        ask.price = draw64() | 1;
        ask.duration_s = (uint32_t)(1 + lrand48() % 3660) * DAY;
        if (terms_offer(&ask, &slot, &offer) != TERMS_OK)
            continue;
        contract_accepts(&slot, &offer);
        if (offer.kind == TERMS_RENEWAL)
            assert_true(offer.terms.start == slot.start && offer.due == ask.price);
        made++;
    }
    assert_true(made > 50000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_subscription),
        cmocka_unit_test(expired_or_refunded_slot),
        cmocka_unit_test(renewal),
        cmocka_unit_test(change_of_plan),
        cmocka_unit_test(slot_that_starts_later),
        cmocka_unit_test(refusals),
        cmocka_unit_test(buckets),
        cmocka_unit_test(random_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
