/* The circuit: failures in a row open it, time makes it half-open, exactly so many are let through
 * then, and all of them must be good. */
#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "services/proxy/breaker.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct backend_note note = {.pool = "pool", .backend = "backend"};

/* Letters: e enter (uppercase E: must be refused), o good, f failed, u undecided, each for the
 * oldest request that is inside; digits: that many seconds pass; C O H: the state must be closed,
 * open, half-open. */
static void walk(const struct breaker_config *rules, const char *steps)
{
    struct breaker breaker = {0};
    uint64_t inside[16];
    size_t first = 0, last = 0;
    int64_t now_ms = 1000;
    for (const char *c = steps; *c; c++) {
        enum breaker_state state = breaker_state(&breaker);
        bool entered;
        switch (*c) {
        case 'e':
        case 'E':
            assert_int_equal(breaker_admits(&breaker, rules, now_ms), *c == 'e');
            entered = breaker_enter(&breaker, rules, now_ms, &note, &inside[last]);
            if (entered != (*c == 'e'))
                fail_msg("%s at %s", steps, c);
            last += entered;
            break;
        case 'o':
        case 'f':
        case 'u':
            breaker_leave(&breaker, rules, inside[first++],
                          *c == 'o'   ? BREAKER_OK
                          : *c == 'f' ? BREAKER_FAILED
                                      : BREAKER_UNKNOWN,
                          now_ms, &note);
            break;
        case 'C':
        case 'O':
        case 'H':
            if (state != (*c == 'C'   ? BREAKER_CLOSED
                          : *c == 'O' ? BREAKER_OPEN
                                      : BREAKER_HALF_OPEN))
                fail_msg("%s at %s: %s", steps, c, breaker_state_name(state));
            break;
        default:
            now_ms += (*c - '0') * 1000;
        }
    }
}

static void test_ways(void **state)
{
    static const struct breaker_config rules = {3, 5000, 2};
    static const char *const ways[] = {
        "eofC",                 /* a failure is no row */
        "efefC",                /* nor are two */
        "efefefOE",             /* three are */
        "efefeoefefC",          /* a good one in between */
        "efefeuefO",            /* an undecided one is nothing */
        "efefefO4E1eH",         /* time */
        "efefef5eHeE",          /* exactly two */
        "efefef5eeoHoC",        /* both good */
        "efefef5eeofOE",        /* one is not */
        "efefef5eefO",          /* the first is not */
        "efefef5eeuHeE",        /* one is never decided: another in its stead */
        "efefef5eeE5EE",        /* they take long: nobody else */
        "efefef5efO5eHeE",      /* a second round */
        "eefefefO5eHfHeooC",    /* one of before the opening comes home late: it is not the trial's
                                 */
        "efefef5eefO5eHoHeoHE", /* one of the first trial comes home in the second */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++)
        walk(&rules, ways[i]);
}

static void test_off(void **state)
{
    static const struct breaker_config rules = {0, 5000, 2};
    (void)state;
    walk(&rules, "efefefefefefCe");
}

static void test_wait(void **state)
{
    static const struct breaker_config rules = {1, 5000, 1};
    struct breaker breaker = {0};
    uint64_t trial;
    (void)state;
    assert_true(breaker_enter(&breaker, &rules, 100, &note, &trial));
    assert_false(breaker_leave(&breaker, &rules, trial, BREAKER_FAILED, 100, &note));
    assert_int_equal(breaker_wait_ms(&breaker, &rules, 1100), 4000);
    assert_int_equal(breaker_wait_ms(&breaker, &rules, 5100), 0);
    assert_true(breaker_enter(&breaker, &rules, 5100, &note, &trial));
    assert_true(breaker_leave(&breaker, &rules, trial, BREAKER_OK, 5100, &note));
}

/* A reload asks for fewer while those of before, all good, are home: nobody is left to end the
 * trial but who comes now. */
static void a_trial_ends_under_rules_that_ask_for_fewer(void **state)
{
    static const struct breaker_config before = {1, 5000, 3}, after = {1, 5000, 1};
    struct breaker breaker = {0};
    uint64_t trial, other;
    (void)state;
    assert_true(breaker_enter(&breaker, &before, 0, &note, &trial));
    breaker_leave(&breaker, &before, trial, BREAKER_FAILED, 0, &note);
    assert_true(breaker_enter(&breaker, &before, 5000, &note, &trial));
    assert_true(breaker_enter(&breaker, &before, 5000, &note, &other));
    breaker_leave(&breaker, &before, trial, BREAKER_OK, 5000, &note);
    assert_false(breaker_admits(&breaker, &after, 5000));
    breaker_leave(&breaker, &before, other, BREAKER_OK, 5000, &note);
    assert_true(breaker_admits(&breaker, &after, 5000));
    assert_true(breaker_enter(&breaker, &after, 5000, &note, &trial));
    assert_true(breaker_leave(&breaker, &after, trial, BREAKER_OK, 5000, &note));
    assert_int_equal(breaker_state(&breaker), BREAKER_CLOSED);
}

/* However many threads ask at once, a trial is as large as it is. */
struct crowd {
    struct breaker breaker;
    struct breaker_config rules;
    pthread_barrier_t start;
    atomic_int admitted;
};

static void *rush(void *arg)
{
    struct crowd *crowd = arg;
    uint64_t trial;
    pthread_barrier_wait(&crowd->start);
    for (int i = 0; i < 1000; i++)
        if (breaker_enter(&crowd->breaker, &crowd->rules, 10000, &note, &trial))
            atomic_fetch_add(&crowd->admitted, 1);
    return NULL;
}

static void test_threads(void **state)
{
    struct crowd crowd = {.rules = {1, 5000, 7}};
    pthread_t threads[8];
    uint64_t trial;
    (void)state;
    pthread_barrier_init(&crowd.start, NULL, ARRAY_LEN(threads));
    assert_true(breaker_enter(&crowd.breaker, &crowd.rules, 0, &note, &trial));
    breaker_leave(&crowd.breaker, &crowd.rules, trial, BREAKER_FAILED, 0, &note);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, rush, &crowd), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.admitted), 7);
    pthread_barrier_destroy(&crowd.start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ways), cmocka_unit_test(test_off), cmocka_unit_test(test_wait),
        cmocka_unit_test(a_trial_ends_under_rules_that_ask_for_fewer),
        cmocka_unit_test(test_threads)};
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
