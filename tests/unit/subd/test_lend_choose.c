/* One ask against one quota. */
#include "services/subd/lend_choose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ID      "sub_00112233445566778899aabbccddeeff"
#define NOW     INT64_C(1790000100)
#define LEASE   60000
#define NOW_MS  (NOW * 1000)
#define EXPIRES (NOW + 500)

static struct record active(int64_t requests, int64_t bytes)
{
    struct record record = {.pub = {.id = ID,
                                    .version = 1,
                                    .state = SUB_ACTIVE,
                                    .start = NOW - 100,
                                    .expiry = EXPIRES,
                                    .period_start = NOW - 100,
                                    .period_end = NOW + 300}};
    record.pub.limits.quota[SUB_REQUESTS] = requests;
    record.pub.limits.quota[SUB_BYTES] = bytes;
    return record;
}

static const struct lease_ask hundred = {.sub = ID, .want = {[SUB_REQUESTS] = 100}};

static void grants(void **unused)
{
    (void)unused;
    struct record record = active(1000, 0);
    struct lend_quota quota = {.granted = {[SUB_REQUESTS] = 950}};
    struct lease_grant grant;
    struct lease_refused refused;
    assert_true(lend_choose(&hundred, &record, &quota, NOW_MS, LEASE, &grant, &refused));
    assert_string_equal(grant.sub, ID);
    assert_int_equal(grant.amount[SUB_REQUESTS], 12); /* a quarter of what is left */
    assert_int_equal(grant.amount[SUB_BYTES], LEASE_UNLIMITED);
    assert_int_equal(grant.amount[SUB_MESSAGES], LEASE_UNLIMITED);
    assert_int_equal(grant.period, NOW - 100);
    assert_int_equal(grant.ttl_ms, LEASE);
    assert_string_equal(grant.day, "2026-09-21");
}

static void what_is_not_wanted_is_not_given(void **unused)
{
    (void)unused;
    struct record record = active(1000, 5000000);
    struct lend_quota quota = {.granted = {[SUB_REQUESTS] = 1000}};
    struct lease_ask ask = {.sub = ID, .want = {[SUB_BYTES] = 7000}};
    struct lease_grant grant;
    struct lease_refused refused;
    assert_true(lend_choose(&ask, &record, &quota, NOW_MS, LEASE, &grant, &refused));
    assert_int_equal(grant.amount[SUB_REQUESTS], 0);
    assert_int_equal(grant.amount[SUB_BYTES], 7000);
}

static void refusals(void **unused)
{
    (void)unused;

    static const struct {
        enum sub_state state;
        int64_t granted, now;
        bool returning;
        enum lease_refusal reason;
        int64_t retry_after;
    } table[] = {
        {SUB_ACTIVE, 1000, NOW, false, LEASE_QUOTA_EXCEEDED, 300},
        {SUB_ACTIVE, 1200, NOW, false, LEASE_QUOTA_EXCEEDED, 300}, /* overspent */
        {SUB_ACTIVE, 1000, NOW, true, LEASE_QUOTA_EXCEEDED, 1},
        {SUB_ACTIVE, 0, EXPIRES, false, LEASE_PAYMENT_REQUIRED, 0},
        {SUB_EXPIRED, 0, NOW, false, LEASE_PAYMENT_REQUIRED, 0},
        {SUB_REVOKED, 0, NOW, false, LEASE_PAYMENT_REQUIRED, 0},
        {SUB_SUSPENDED, 0, NOW, false, LEASE_PAYMENT_REQUIRED, 0},
        {SUB_PENDING, 0, NOW, false, LEASE_PAYMENT_REQUIRED, 0},
        {SUB_UNKNOWN, 0, NOW, false, LEASE_PAYMENT_REQUIRED, 0},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct record record = active(1000, 0);
        struct lend_quota quota = {.granted = {[SUB_REQUESTS] = table[i].granted},
                                   .returning = {[SUB_REQUESTS] = table[i].returning}};
        struct lease_grant grant;
        struct lease_refused refused;
        record.pub.state = table[i].state;
        assert_false(
            lend_choose(&hundred, &record, &quota, table[i].now * 1000, LEASE, &grant, &refused));
        assert_int_equal(refused.reason, table[i].reason);
        assert_int_equal(refused.retry_after, table[i].retry_after);
        assert_int_equal(refused.kind, SUB_REQUESTS);
    }
}

/* NOW is 2026-09-21T14:15:00Z: 35100 s before midnight. */
#define MIDNIGHT 35100

/* What the day leaves bounds a slice as what the period leaves does, and each names its own end. */
static void days(void **unused)
{
    (void)unused;

    static const struct {
        int64_t period, granted, day, day_granted;
        bool returning, day_returning;
        int64_t get, retry_after; /* 0: refused */
    } table[] = {
        {0, 0, 1000, 0, false, false, 100, 0},       /* no limit of the period */
        {0, 500000, 1000, 960, false, false, 10, 0}, /* a quarter of what is left of the day */
        {0, 0, 1000, 997, false, false, 3, 0},       /* its last */
        {1000, 960, 1000, 0, false, false, 10, 0},   /* the period is nearer */
        {1000, 0, 0, 5000, false, false, 100, 0},    /* no limit of the day */
        {5000, 0, 1000, 1000, false, false, 0, MIDNIGHT},
        {5000, 0, 1000, 1200, false, false, 0, MIDNIGHT}, /* overspent, or a smaller plan */
        {5000, 0, 1000, 1000, true, true, 0, 1},
        {5000, 0, 1000, 1000, true, false, 0, MIDNIGHT}, /* to the period alone */
        {1000, 1000, 1000, 0, false, false, 0, 300},
        {1000, 1000, 1000, 1000, false, false, 0, MIDNIGHT},
        {1000, 1000, 1000, 1000, false, true, 0, 300},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct record record = active(table[i].period, 0);
        struct lend_quota quota = {.granted = {[SUB_REQUESTS] = table[i].granted},
                                   .day_granted = table[i].day_granted,
                                   .returning = {[SUB_REQUESTS] = table[i].returning},
                                   .day_returning = table[i].day_returning};
        struct lease_grant grant;
        struct lease_refused refused;
        record.pub.limits.requests_per_day = table[i].day;
        bool lent = lend_choose(&hundred, &record, &quota, NOW_MS, LEASE, &grant, &refused);
        assert_int_equal(lent, table[i].get > 0);
        if (lent) {
            assert_int_equal(grant.amount[SUB_REQUESTS], table[i].get);
            continue;
        }
        assert_int_equal(refused.reason, LEASE_QUOTA_EXCEEDED);
        assert_int_equal(refused.kind, SUB_REQUESTS);
        assert_int_equal(refused.retry_after, table[i].retry_after);
    }
}

/* The last millisecond of a day and the first of the next. */
static void a_lease_and_a_refusal_end_at_midnight(void **unused)
{
    (void)unused;
    const int64_t midnight_ms = (NOW + MIDNIGHT) * 1000;
    struct record record = active(0, 0);
    struct lend_quota quota = {.day_granted = 50};
    struct lease_grant grant;
    struct lease_refused refused;
    record.pub.limits.requests_per_day = 50;
    record.pub.expiry = record.pub.period_end = NOW + 200000;
    assert_false(lend_choose(&hundred, &record, &quota, midnight_ms - 1, LEASE, &grant, &refused));
    assert_int_equal(refused.retry_after, 1);
    quota.day_granted = 0;
    assert_true(lend_choose(&hundred, &record, &quota, midnight_ms - 1, LEASE, &grant, &refused));
    assert_string_equal(grant.day, "2026-09-21");
    assert_int_equal(grant.ttl_ms, 1);
    assert_true(lend_choose(&hundred, &record, &quota, midnight_ms, LEASE, &grant, &refused));
    assert_string_equal(grant.day, "2026-09-22");
    assert_int_equal(grant.ttl_ms, LEASE);
}

/* Bytes that are used up refuse the ask, though requests are left. */
static void the_exhausted_kind_is_named(void **unused)
{
    (void)unused;
    struct record record = active(1000, 5000);
    struct lend_quota quota = {.granted = {[SUB_BYTES] = 5000}};
    struct lease_ask ask = {.sub = ID, .want = {[SUB_REQUESTS] = 1, [SUB_BYTES] = 1}};
    struct lease_grant grant;
    struct lease_refused refused;
    assert_false(lend_choose(&ask, &record, &quota, NOW_MS, LEASE, &grant, &refused));
    assert_int_equal(refused.kind, SUB_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grants),
        cmocka_unit_test(what_is_not_wanted_is_not_given),
        cmocka_unit_test(refusals),
        cmocka_unit_test(days),
        cmocka_unit_test(a_lease_and_a_refusal_end_at_midnight),
        cmocka_unit_test(the_exhausted_kind_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
