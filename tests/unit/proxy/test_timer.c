/* The wheel against a plain list of deadlines, with an injected clock. */
#include "libcommon/mem.h"
#include "services/proxy/timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 400

struct probe {
    struct timer timer; /* first */
    int64_t *now;
    int64_t fired_at; /* 0: not yet */
    unsigned times;
};

static void fire(struct timer *timer)
{
    struct probe *probe = (struct probe *)(void *)timer;
    probe->fired_at = *probe->now;
    probe->times++;
}

/* Moves the clock to `until` in the steps that the wheel asks for. */
static void run_until(struct timer_wheel *wheel, int64_t *now, int64_t until)
{
    while (*now < until) {
        int64_t wait = timer_wait_ms(wheel, *now, 5000);
        *now += wait > 0 ? wait : 1;
        if (*now > until)
            *now = until;
        timer_run(wheel, *now);
    }
}

static void deadlines_are_met(void **state)
{
    static const int64_t delays[] = {0,    1,    4,     5,      250,    1020,    1024,
                                     1025, 4000, 60000, 262144, 300000, 3600000, 90000000};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
        int64_t now = 123457;
        struct timer_wheel wheel;
        struct probe probe = {.timer.fire = fire, .now = &now};
        timer_wheel_init(&wheel, now);
        timer_set(&wheel, &probe.timer, now + delays[i]);
        run_until(&wheel, &now, 123457 + delays[i] - 1);
        assert_int_equal(probe.times, 0);
        run_until(&wheel, &now, 123457 + delays[i] + 2 * TIMER_TICK_MS);
        assert_int_equal(probe.times, 1);
    }
}

static void a_deadline_can_move_both_ways(void **state)
{
    int64_t now = 1000000;
    struct timer_wheel wheel;
    struct probe probe = {.timer.fire = fire, .now = &now};
    (void)state;
    timer_wheel_init(&wheel, now);
    timer_set(&wheel, &probe.timer, now + 100);
    for (int i = 0; i < 50; i++) {
        run_until(&wheel, &now, now + 50);
        timer_set(&wheel, &probe.timer, now + 100);
    }
    assert_int_equal(probe.times, 0);
    timer_set(&wheel, &probe.timer, now + 8);
    run_until(&wheel, &now, now + 20);
    assert_int_equal(probe.times, 1);
    timer_set(&wheel, &probe.timer, now + 50);
    timer_clear(&probe.timer);
    run_until(&wheel, &now, now + 1000);
    assert_int_equal(probe.times, 1);
    assert_int_equal(wheel.count, 0);
    timer_set(&wheel, &probe.timer, now + 50);
    timer_unlink(&wheel, &probe.timer);
    assert_int_equal(wheel.count, 0);
}

static void many_fire_in_time(void **state)
{
    static struct probe probes[COUNT];
    int64_t now = 77, due[COUNT];
    struct timer_wheel wheel;
    (void)state;
    srandom(1);
    timer_wheel_init(&wheel, now);
    for (size_t i = 0; i < COUNT; i++) {
        probes[i] = (struct probe){.timer.fire = fire, .now = &now};
        due[i] = now + random() % (i % 7 == 0 ? 2000000 : 3000);
        timer_set(&wheel, &probes[i].timer, due[i]);
    }
    run_until(&wheel, &now, 2100000);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(probes[i].times, 1);
        assert_true(probes[i].fired_at >= due[i]);
        assert_true(probes[i].fired_at <= due[i] + 2 * TIMER_TICK_MS);
    }
    assert_int_equal(wheel.count, 0);
}

static void an_empty_wheel_sleeps(void **state)
{
    struct timer_wheel wheel;
    (void)state;
    timer_wheel_init(&wheel, 5000);
    assert_int_equal(timer_wait_ms(&wheel, 5000, 777), 777);
    timer_run(&wheel, 9000000);
    assert_int_equal(timer_wait_ms(&wheel, 9000000, 777), 777);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deadlines_are_met), cmocka_unit_test(a_deadline_can_move_both_ways),
        cmocka_unit_test(many_fire_in_time), cmocka_unit_test(an_empty_wheel_sleeps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
