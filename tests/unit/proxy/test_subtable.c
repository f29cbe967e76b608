/* The table of subscriptions: what is taken over, how it is judged, what gives way. */
#include "libcommon/mem.h"
#include "services/proxy/subtable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000LL
#define NOW    1790000000LL

static const uint8_t key[16] = "a random key....";

static struct sub_record record(unsigned n, int64_t version, enum sub_state state)
{
    struct sub_record out = {.version = version,
                             .state = state,
                             .service = "api",
                             .tier = "pro",
                             .start = NOW - 100,
                             .expiry = NOW + 100};
    snprintf(out.id, sizeof(out.id), "sub_%032x", n);
    return out;
}

static void test_judge(void **state)
{
    static const struct {
        enum sub_state state;
        const char *service;
        int64_t wall_s, age_ns;
        enum subtable_verdict verdict;
        const char *reason;
    } cases[] = {
        {SUB_ACTIVE, "api", NOW, 0, SUBTABLE_PASS, NULL},
        {SUB_ACTIVE, "api", NOW, 3600 * SECOND, SUBTABLE_PASS, NULL},
        {SUB_ACTIVE, "api", NOW + 99, 0, SUBTABLE_PASS, NULL},
        {SUB_ACTIVE, "api", NOW + 100, 0, SUBTABLE_UNPAID, "expired"},
        {SUB_ACTIVE, "api", NOW + 100, 2 * SECOND, SUBTABLE_ASK, NULL},
        {SUB_ACTIVE, "other", NOW, 0, SUBTABLE_NOT_COVERED, NULL},
        {SUB_PENDING, "api", NOW, 0, SUBTABLE_UNPAID, "not confirmed"},
        {SUB_SUSPENDED, "api", NOW, 0, SUBTABLE_UNPAID, "suspended"},
        {SUB_EXPIRED, "api", NOW, 0, SUBTABLE_UNPAID, "expired"},
        {SUB_REVOKED, "api", NOW, 0, SUBTABLE_UNPAID, "revoked"},
        {SUB_REVOKED, "api", NOW, SECOND - 1, SUBTABLE_UNPAID, "revoked"},
        {SUB_REVOKED, "api", NOW, SECOND, SUBTABLE_ASK, NULL},
        {SUB_UNKNOWN, "api", NOW, 0, SUBTABLE_UNPAID, "no such"},
        {SUB_UNKNOWN, "api", NOW, SECOND, SUBTABLE_ASK, NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sub_record r = record(1, cases[i].state == SUB_UNKNOWN ? 0 : 3, cases[i].state);
        struct subscription sub = {.refs = 0};
        assert_int_equal(subtable_judge(&sub, "api", NOW, SECOND), SUBTABLE_ASK);
        subtable_apply(&sub, &r, 5 * SECOND);
        int64_t now_ns = 5 * SECOND + cases[i].age_ns;
        if (subtable_judge(&sub, cases[i].service, cases[i].wall_s, now_ns) != cases[i].verdict)
            fail_msg("case %zu", i);
        if (cases[i].reason && !strstr(subtable_reason(&sub, cases[i].wall_s), cases[i].reason))
            fail_msg("case %zu: %s", i, subtable_reason(&sub, cases[i].wall_s));
    }
}

/* Messages come in any order: the highest version stands. */
static void test_versions(void **state)
{
    struct subscription sub = {.refs = 0};
    struct sub_record first = record(1, 3, SUB_ACTIVE), later = record(1, 5, SUB_REVOKED),
                      between = record(1, 4, SUB_SUSPENDED), none = record(1, 0, SUB_UNKNOWN);
    (void)state;
    assert_true(subtable_apply(&sub, &first, 1));
    assert_false(subtable_apply(&sub, &first, 2));
    assert_true(subtable_apply(&sub, &later, 3));
    assert_false(subtable_apply(&sub, &between, 4));
    assert_false(subtable_apply(&sub, &none, 5));
    assert_int_equal(sub.record.state, SUB_REVOKED);
    assert_int_equal(sub.learned_ns, 3);
}

static void count_release(void *ctx, struct subscription *sub)
{
    (void)sub;
    ++*(unsigned *)ctx;
}

static void test_eviction(void **state)
{
    unsigned released = 0;
    struct subtable *table = subtable_new(10, key, count_release, &released);
    struct sub_record r = record(0, 1, SUB_ACTIVE);
    struct subscription *held = subtable_get(table, r.id), *recent;
    (void)state;
    subtable_ref(held);
    r = record(1, 1, SUB_ACTIVE);
    subtable_get(table, r.id);
    for (unsigned i = 2; i < 100; i++) {
        recent = subtable_get(table, r.id); /* used again and again */
        struct sub_record other = record(i, 1, SUB_ACTIVE);
        assert_non_null(subtable_get(table, other.id));
        assert_ptr_equal(subtable_find(table, r.id), recent);
    }
    assert_int_equal(subtable_count(table), 10);
    assert_int_equal(released, 90);
    r = record(0, 1, SUB_ACTIVE);
    assert_ptr_equal(subtable_find(table, r.id), held);
    subtable_unref(held);
    subtable_free(&table);
    assert_int_equal(released, 100);
}

static void test_all_held(void **state)
{
    struct subtable *table = subtable_new(3, key, NULL, NULL);
    struct subscription *subs[3];
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct sub_record r = record(i, 1, SUB_ACTIVE);
        subs[i] = subtable_get(table, r.id);
        subtable_ref(subs[i]);
    }
    struct sub_record more = record(9, 1, SUB_ACTIVE);
    assert_null(subtable_get(table, more.id));
    subtable_unref(subs[1]);
    assert_non_null(subtable_get(table, more.id));
    subtable_free(&table);
}

/* Against a plain array: find gives what was put in, whatever the order. */
static void test_model(void **state)
{
    struct subtable *table = subtable_new(1000, key, NULL, NULL);
    int64_t versions[1000] = {0};
    uint64_t random = 88172645463325252u;
    (void)state;
    for (int i = 0; i < 100000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        unsigned n = (unsigned)(random % 1000);
        struct sub_record r = record(n, (int64_t)(random >> 32) % 50 + 1, SUB_ACTIVE);
        struct subscription *sub = subtable_get(table, r.id);
        subtable_apply(sub, &r, i);
        if (r.version > versions[n])
            versions[n] = r.version;
        assert_int_equal(sub->record.version, versions[n]);
    }
    subtable_free(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judge),    cmocka_unit_test(test_versions),
        cmocka_unit_test(test_eviction), cmocka_unit_test(test_all_held),
        cmocka_unit_test(test_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
