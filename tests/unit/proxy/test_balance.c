/* Choosing a backend: the shares are those of the weights, smoothly; what is full or failing is
 * passed over; a place that was taken is given back once. */
#include "libcommon/mem.h"
#include "services/proxy/exchange.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct backend_address address;
    struct backend backends[3];
    struct member members[3];
    struct pool pool;
    struct route route;
    struct worker_private priv;
    struct backend_slot slots[3];
    struct worker worker;
};

static void setup(struct fixture *fixture, enum balance_policy policy, const int64_t *weights)
{
    memset(fixture, 0, sizeof(*fixture));
    fixture->pool = (struct pool){.policy = policy, .members = fixture->members, .count = 3};
    fixture->route.pool = &fixture->pool;
    fixture->priv.backends = fixture->slots;
    fixture->priv.random[0] = 1;
    fixture->worker.priv = &fixture->priv;
    fixture->worker.now_ns = 5000 * 1000000LL;
    for (unsigned i = 0; i < 3; i++) {
        fixture->backends[i].id = i;
        fixture->members[i].backend = &fixture->backends[i];
        fixture->members[i].weight = weights[i];
        atomic_store(&fixture->backends[i].address, &fixture->address);
    }
}

static struct exchange *new_exchange(struct fixture *fixture)
{
    struct exchange *exchange = mem_zalloc(sizeof(*exchange));
    exchange->request.worker = &fixture->worker;
    exchange->request.exchange = exchange;
    exchange->request.route = &fixture->route;
    h2o_mem_init_pool(&exchange->request.pool);
    return exchange;
}

static size_t choose(struct fixture *fixture, struct exchange *exchange)
{
    if (room_balance.enter(&exchange->request) != ROOM_NEXT)
        return SIZE_MAX;
    return (size_t)(exchange->backend - fixture->backends);
}

static size_t choose_and_leave(struct fixture *fixture)
{
    AUTO_FREE struct exchange *exchange = new_exchange(fixture);
    size_t index = choose(fixture, exchange);
    room_balance.leave(&exchange->request);
    room_balance.leave(&exchange->request);
    return index;
}

static void weights_are_shares_smoothly(void **state)
{
    static const size_t expected[] = {0, 0, 1, 0, 2, 0, 0};
    struct fixture fixture;
    (void)state;
    setup(&fixture, BALANCE_ROUND_ROBIN, (const int64_t[]){5, 1, 1});
    for (size_t i = 0; i < 70; i++)
        assert_int_equal(choose_and_leave(&fixture), expected[i % ARRAY_LEN(expected)]);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(atomic_load(&fixture.backends[i].in_flight), 0);
}

static void the_least_loaded_by_weight(void **state)
{
    struct fixture fixture;
    struct exchange *held[40];
    (void)state;
    setup(&fixture, BALANCE_LEAST_CONNECTIONS, (const int64_t[]){2, 1, 1});
    for (size_t i = 0; i < ARRAY_LEN(held); i++) {
        held[i] = new_exchange(&fixture);
        choose(&fixture, held[i]);
    }
    assert_int_equal(atomic_load(&fixture.backends[0].in_flight), 20);
    assert_int_equal(atomic_load(&fixture.backends[1].in_flight), 10);
    for (size_t i = 0; i < ARRAY_LEN(held); i++) {
        room_balance.leave(&held[i]->request);
        free(held[i]);
    }
    assert_int_equal(atomic_load(&fixture.backends[2].in_flight), 0);
}

static void failing_ones_are_passed_over(void **state)
{
    struct fixture fixture;
    (void)state;
    for (int policy = BALANCE_ROUND_ROBIN; policy <= BALANCE_LEAST_CONNECTIONS; policy++) {
        setup(&fixture, (enum balance_policy)policy, (const int64_t[]){1, 1, 1});
        atomic_store(&fixture.backends[0].skip_until_ms, 5001);
        atomic_store(&fixture.backends[1].address, NULL);
        for (int i = 0; i < 10; i++)
            assert_int_equal(choose_and_leave(&fixture), 2);
        /* All failing: one is tried all the same. */
        atomic_store(&fixture.backends[1].address, &fixture.address);
        for (int i = 0; i < 3; i++)
            atomic_store(&fixture.backends[i].skip_until_ms, 9999);
        assert_true(choose_and_leave(&fixture) < 3);
    }
}

static void full_ones_refuse(void **state)
{
    struct fixture fixture;
    (void)state;
    setup(&fixture, BALANCE_ROUND_ROBIN, (const int64_t[]){1, 1, 1});
    for (int i = 0; i < 3; i++)
        fixture.members[i].max_connections = 1;
    AUTO_FREE struct exchange *a = new_exchange(&fixture);
    AUTO_FREE struct exchange *b = new_exchange(&fixture);
    AUTO_FREE struct exchange *c = new_exchange(&fixture);
    AUTO_FREE struct exchange *d = new_exchange(&fixture);
    choose(&fixture, a);
    choose(&fixture, b);
    choose(&fixture, c);
    assert_int_equal(choose(&fixture, d), SIZE_MAX);
    assert_int_equal(d->request.problem, PROBLEM_OVERLOADED);
    room_balance.leave(&d->request);
    room_balance.leave(&b->request);
    assert_int_equal(choose(&fixture, d), b->backend - fixture.backends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_shares_smoothly), cmocka_unit_test(the_least_loaded_by_weight),
        cmocka_unit_test(failing_ones_are_passed_over), cmocka_unit_test(full_ones_refuse)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
