/* Choosing a backend, each policy against a naive model: shares are those of the weights; what is
 * full, failing or tried is passed over; a place that was taken is given back once; and a client
 * that is bound to a backend stays with it when others come and go. */
#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "services/proxy/exchange.h"
#include "services/proxy/route.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MAX = 16, NOW_MS = 50000 };

struct fixture {
    struct backend_address address;
    struct backend backends[MAX];
    struct member members[MAX];
    struct pool_config config;
    struct pool pool;
    struct pool_state state;
    struct worker_private priv;
    struct backend_slot slots[MAX];
    struct worker worker;
    struct address client;
};

static void setup(struct fixture *fixture, enum balance_policy policy, size_t count,
                  const int64_t *weights)
{
    memset(fixture, 0, sizeof(*fixture));
    fixture->config.circuit_breaker = (struct breaker_config){2, 1000, 1};
    fixture->config.passive = (struct passive_config){1, 1000, 1000, 100};
    wait_queue_init(&fixture->state.queue);
    fixture->pool = (struct pool){.name = "pool",
                                  .policy = policy,
                                  .config = &fixture->config,
                                  .state = &fixture->state,
                                  .members = fixture->members,
                                  .count = count};
    fixture->priv.backends = fixture->slots;
    fixture->priv.random[0] = 88172645463325252ULL;
    fixture->worker.priv = &fixture->priv;
    fixture->worker.now_ns = NOW_MS * 1000000LL;
    for (unsigned i = 0; i < count; i++) {
        fixture->backends[i].id = i;
        fixture->backends[i].hash = (i + 1) * 0x9e3779b97f4a7c15ULL;
        fixture->backends[i].authority = h2o_iovec_init("backend", 7);
        atomic_store(&fixture->backends[i].address, &fixture->address);
        fixture->members[i] =
            (struct member){.backend = &fixture->backends[i], .weight = weights[i]};
        if (weights[i] > fixture->pool.max_weight)
            fixture->pool.max_weight = weights[i];
    }
}

static enum balance_result take(struct fixture *fixture, struct place *place)
{
    const struct balance_ask ask = {.client = &fixture->client};
    return balance_take(&fixture->worker, &fixture->pool, &ask, place);
}

static size_t index_of(const struct fixture *fixture, const struct place *place)
{
    return (size_t)(place->backend - fixture->backends);
}

/* Of the one that takes the next request, which is over at once. */
static size_t choose(struct fixture *fixture)
{
    struct place place;
    if (take(fixture, &place) != BALANCE_PLACED)
        return SIZE_MAX;
    balance_report(&fixture->worker, &place, FITNESS_OK);
    balance_give_back(&fixture->worker, &place);
    balance_give_back(&fixture->worker, &place);
    return index_of(fixture, &place);
}

static void eject(struct fixture *fixture, size_t index, int64_t until_ms)
{
    atomic_store(&fixture->backends[index].fitness.eject.until_ms, until_ms);
}

static void set_client(struct fixture *fixture, uint64_t number)
{
    uint8_t bytes[16] = {[10] = 0xff, [11] = 0xff, [12] = 10};
    for (int i = 0; i < 3; i++)
        bytes[13 + i] = (uint8_t)(number >> (8 * (2 - i)));
    memcpy(fixture->client.bytes, bytes, 16);
}

static void test_smooth_shares(void **state)
{
    static const size_t expected[] = {0, 0, 1, 0, 2, 0, 0};
    struct fixture fixture;
    (void)state;
    setup(&fixture, BALANCE_ROUND_ROBIN, 3, (const int64_t[]){5, 1, 1});
    for (size_t i = 0; i < 70; i++)
        assert_int_equal(choose(&fixture), expected[i % ARRAY_LEN(expected)]);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(atomic_load(&fixture.backends[i].in_flight), 0);
}

/* At any moment each has had its share, less than two requests off. */
static void test_round_robin_never_drifts(void **state)
{
    struct fixture fixture;
    uint64_t seed = 7;
    (void)state;
    for (int round = 0; round < 50; round++) {
        int64_t weights[MAX], total = 0, had[MAX] = {0};
        size_t count = 2 + (size_t)round % 8;
        for (size_t i = 0; i < count; i++) {
            seed = seed * 6364136223846793005ULL + 1;
            total += weights[i] = 1 + (int64_t)(seed >> 33) % 20;
        }
        setup(&fixture, BALANCE_ROUND_ROBIN, count, weights);
        for (int64_t n = 1; n <= 3 * total; n++) {
            had[choose(&fixture)]++;
            for (size_t i = 0; i < count; i++)
                assert_true(fabs((double)had[i] - (double)(n * weights[i]) / (double)total) < 2);
        }
    }
}

static void test_the_least_loaded_by_weight(void **state)
{
    struct fixture fixture;
    struct place held[40];
    (void)state;
    setup(&fixture, BALANCE_LEAST_CONNECTIONS, 3, (const int64_t[]){2, 1, 1});
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        assert_int_equal(take(&fixture, &held[i]), BALANCE_PLACED);
    assert_int_equal(atomic_load(&fixture.backends[0].in_flight), 20);
    assert_int_equal(atomic_load(&fixture.backends[1].in_flight), 10);
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        balance_give_back(&fixture.worker, &held[i]);
    assert_int_equal(atomic_load(&fixture.backends[2].in_flight), 0);
}

/* Any sequence of arrivals and departures: the one chosen is never more loaded than another. */
static void test_least_connections_against_a_model(void **state)
{
    static const int64_t weights[] = {1, 2, 3, 4, 5};
    struct fixture fixture;
    struct place held[64];
    size_t count = 0;
    (void)state;
    setup(&fixture, BALANCE_LEAST_CONNECTIONS, 5, weights);
    for (int step = 0; step < 5000; step++) {
        uint64_t random = worker_random(&fixture.worker);
        if (count == ARRAY_LEN(held) || (count && random % 2)) {
            size_t at = (random >> 8) % count;
            balance_give_back(&fixture.worker, &held[at]);
            held[at] = held[--count];
            continue;
        }
        int64_t load[5];
        for (size_t i = 0; i < 5; i++)
            load[i] = atomic_load(&fixture.backends[i].in_flight) + 1;
        assert_int_equal(take(&fixture, &held[count]), BALANCE_PLACED);
        size_t chosen = index_of(&fixture, &held[count++]);
        for (size_t i = 0; i < 5; i++)
            assert_true(load[chosen] * weights[i] <= load[i] * weights[chosen]);
    }
}

static void shares(struct fixture *fixture, double *out, size_t requests)
{
    memset(out, 0, MAX * sizeof(*out));
    for (size_t i = 0; i < requests; i++) {
        set_client(fixture, i);
        out[choose(fixture)] += 1.0 / (double)requests;
    }
}

static void test_random_shares(void **state)
{
    static const int64_t weights[] = {1, 2, 3, 4};
    struct fixture fixture;
    double got[MAX];
    (void)state;
    setup(&fixture, BALANCE_IP_HASH, 4, weights);
    shares(&fixture, got, 40000);
    for (size_t i = 0; i < 4; i++)
        assert_true(fabs(got[i] - (double)weights[i] / 10) < 0.02);
    setup(&fixture, BALANCE_RANDOM_TWO, 4, (const int64_t[]){5, 5, 5, 5});
    shares(&fixture, got, 40000);
    for (size_t i = 0; i < 4; i++)
        assert_true(fabs(got[i] - 0.25) < 0.02);
}

/* The power of two choices: with requests that stay, the load is nearly even, by weight. */
static void test_random_two_evens_out(void **state)
{
    static const int64_t weights[] = {1, 1, 2, 2, 4, 4, 1, 1};

    enum { HELD = 1600 };

    struct fixture fixture;
    struct place *held = mem_array(HELD, sizeof(*held));
    (void)state;
    setup(&fixture, BALANCE_RANDOM_TWO, 8, weights);
    for (size_t i = 0; i < HELD; i++)
        assert_int_equal(take(&fixture, &held[i]), BALANCE_PLACED);
    for (size_t i = 0; i < 8; i++) {
        double load = (double)atomic_load(&fixture.backends[i].in_flight) / (double)weights[i];
        assert_true(load > 85 && load < 115);
    }
    for (size_t i = 0; i < HELD; i++)
        balance_give_back(&fixture.worker, &held[i]);
    free(held);
}

/* Who leaves moves its own clients only, and gets exactly them back. */
static void test_ip_hash_disturbs_nobody_else(void **state)
{
    enum { CLIENTS = 4000 };

    static const int64_t weights[] = {1, 1, 2, 3, 1, 2};
    struct fixture fixture;
    static uint8_t home[CLIENTS];
    (void)state;
    setup(&fixture, BALANCE_IP_HASH, 6, weights);
    for (size_t i = 0; i < CLIENTS; i++) {
        set_client(&fixture, i);
        home[i] = (uint8_t)choose(&fixture);
    }
    for (size_t gone = 0; gone < 6; gone++) {
        eject(&fixture, gone, NOW_MS + 1);
        size_t refuge[6] = {0};
        for (size_t i = 0; i < CLIENTS; i++) {
            set_client(&fixture, i);
            size_t now = choose(&fixture);
            assert_true(home[i] == gone ? now != gone : now == home[i]);
            refuge[now] += home[i] == gone;
        }
        /* And spread over all others. */
        for (size_t i = 0; i < 6; i++)
            assert_true(i == gone || refuge[i] > 0);
        eject(&fixture, gone, 0);
        for (size_t i = 0; i < CLIENTS; i += 7) {
            set_client(&fixture, i);
            assert_int_equal(choose(&fixture), home[i]);
        }
    }
}

static void test_ip_hash_takes_a_64_for_one(void **state)
{
    struct fixture fixture;
    size_t seen = 0;
    (void)state;
    setup(&fixture, BALANCE_IP_HASH, 8, (const int64_t[]){1, 1, 1, 1, 1, 1, 1, 1});
    for (uint8_t net = 0; net < 64; net++) {
        fixture.client = (struct address){{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, net}};
        size_t first = choose(&fixture);
        seen |= 1ULL << first;
        for (uint8_t host = 1; host < 50; host++) {
            fixture.client.bytes[15] = host;
            fixture.client.bytes[8] = (uint8_t)(host * 5);
            assert_int_equal(choose(&fixture), first);
        }
    }
    assert_int_equal(seen, 0xff);
}

static void each_policy(void (*check)(struct fixture *fixture))
{
    for (int policy = BALANCE_ROUND_ROBIN; policy <= BALANCE_RANDOM_TWO; policy++) {
        struct fixture fixture;
        setup(&fixture, (enum balance_policy)policy, 3, (const int64_t[]){1, 1, 1});
        check(&fixture);
    }
}

static void passes_over(struct fixture *fixture)
{
    eject(fixture, 0, NOW_MS + 1);
    atomic_store(&fixture->backends[1].address, NULL);
    for (int i = 0; i < 10; i++)
        assert_int_equal(choose(fixture), 2);
    atomic_store(&fixture->backends[1].address, &fixture->address);
    atomic_store(&fixture->backends[2].fitness.down, true);
    for (int i = 0; i < 10; i++)
        assert_int_equal(choose(fixture), 1);
}

static void test_failing_ones_are_passed_over(void **state)
{
    (void)state;
    each_policy(passes_over);
}

static void tries_the_unfit(struct fixture *fixture)
{
    for (size_t i = 0; i < 3; i++)
        atomic_store(&fixture->backends[i].fitness.down, true);
    assert_true(choose(fixture) < 3);
    /* But never one whose circuit is open. */
    for (size_t i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++)
            fitness_report(&fixture->backends[i], &fixture->pool, 0, FITNESS_BROKE, NOW_MS, 0,
                           NULL);
    struct place place;
    assert_int_equal(take(fixture, &place), BALANCE_NONE);
    assert_int_equal(balance_retry_after_s(&fixture->worker, &fixture->pool), 2);
}

static void test_with_nothing_fit(void **state)
{
    (void)state;
    each_policy(tries_the_unfit);
}

static void prefers_others(struct fixture *fixture)
{
    struct backend *tried[] = {&fixture->backends[0], &fixture->backends[2]};
    const struct balance_ask ask = {.client = &fixture->client, .tried = tried, .tried_count = 2};
    struct place place;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(balance_take(&fixture->worker, &fixture->pool, &ask, &place),
                         BALANCE_PLACED);
        assert_int_equal(index_of(fixture, &place), 1);
        balance_give_back(&fixture->worker, &place);
    }
    assert_true(balance_has_other(&fixture->worker, &fixture->pool, &ask, true));
    /* Left out, it is still better than one that has just failed. */
    eject(fixture, 1, NOW_MS + 1);
    assert_false(balance_has_other(&fixture->worker, &fixture->pool, &ask, true));
    assert_true(balance_has_other(&fixture->worker, &fixture->pool, &ask, false));
    assert_int_equal(balance_take(&fixture->worker, &fixture->pool, &ask, &place), BALANCE_PLACED);
    assert_int_equal(index_of(fixture, &place), 1);
    balance_give_back(&fixture->worker, &place);
    /* But not with its circuit open. */
    atomic_store(&fixture->backends[1].fitness.breaker.word, 1ULL << 62 | (NOW_MS + 1));
    assert_false(balance_has_other(&fixture->worker, &fixture->pool, &ask, false));
    assert_int_equal(balance_take(&fixture->worker, &fixture->pool, &ask, &place), BALANCE_PLACED);
    assert_int_not_equal(index_of(fixture, &place), 1);
    balance_give_back(&fixture->worker, &place);
}

static void test_retries_prefer_others(void **state)
{
    (void)state;
    each_policy(prefers_others);
}

static void refuses_when_full(struct fixture *fixture)
{
    struct place places[3], another;
    for (size_t i = 0; i < 3; i++)
        fixture->members[i].max_connections = 1;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(take(fixture, &places[i]), BALANCE_PLACED);
    assert_false(balance_has_room(&fixture->worker, &fixture->pool));
    assert_int_equal(take(fixture, &another), BALANCE_FULL);
    balance_give_back(&fixture->worker, &places[1]);
    assert_true(balance_has_room(&fixture->worker, &fixture->pool));
    assert_int_equal(take(fixture, &another), BALANCE_PLACED);
    assert_ptr_equal(another.backend, places[1].backend);
    /* Full ones are waited for, rather than that one is tried which is not fit. */
    balance_give_back(&fixture->worker, &another);
    eject(fixture, index_of(fixture, &another), NOW_MS + 1);
    assert_int_equal(take(fixture, &another), BALANCE_FULL);
}

static void test_full_ones_refuse(void **state)
{
    (void)state;
    each_policy(refuses_when_full);
}

static void bounds_the_pool(struct fixture *fixture)
{
    struct place places[2], another;
    fixture->config.max_in_flight = 2;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(take(fixture, &places[i]), BALANCE_PLACED);
    assert_int_equal(take(fixture, &another), BALANCE_FULL);
    balance_give_back(&fixture->worker, &another);
    assert_int_equal(atomic_load(&fixture->state.in_flight), 2);
    balance_give_back(&fixture->worker, &places[0]);
    assert_int_equal(take(fixture, &another), BALANCE_PLACED);
}

static void test_the_pool_has_a_bound(void **state)
{
    (void)state;
    each_policy(bounds_the_pool);
}

/* A recovered backend gets few requests at first, and its share in the end, by each policy. */
static void starts_slowly(struct fixture *fixture)
{
    enum { REQUESTS = 3000 };

    static struct place held[REQUESTS];
    double got[3];
    fixture->config.slow_start = 10000;
    atomic_store(&fixture->backends[0].fitness.recovered_ms, NOW_MS);
    static const int64_t after_ms[] = {0, 5000, 10000};
    for (size_t moment = 0; moment < 3; moment++) {
        fixture->worker.now_ns = (NOW_MS + after_ms[moment]) * 1000000LL;
        size_t first = 0;
        for (size_t i = 0; i < REQUESTS; i++) {
            set_client(fixture, i);
            assert_int_equal(take(fixture, &held[i]), BALANCE_PLACED);
            first += index_of(fixture, &held[i]) == 0;
        }
        for (size_t i = 0; i < REQUESTS; i++)
            balance_give_back(&fixture->worker, &held[i]);
        got[moment] = (double)first / REQUESTS;
    }
    assert_true(got[0] < 0.05);
    assert_true(got[1] > 0.12 && got[1] < 0.27);
    assert_true(got[2] > 0.3 && got[2] < 0.37);
}

static void test_slow_start(void **state)
{
    (void)state;
    each_policy(starts_slowly);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_smooth_shares),
                                       cmocka_unit_test(test_round_robin_never_drifts),
                                       cmocka_unit_test(test_the_least_loaded_by_weight),
                                       cmocka_unit_test(test_least_connections_against_a_model),
                                       cmocka_unit_test(test_random_shares),
                                       cmocka_unit_test(test_random_two_evens_out),
                                       cmocka_unit_test(test_ip_hash_disturbs_nobody_else),
                                       cmocka_unit_test(test_ip_hash_takes_a_64_for_one),
                                       cmocka_unit_test(test_failing_ones_are_passed_over),
                                       cmocka_unit_test(test_with_nothing_fit),
                                       cmocka_unit_test(test_retries_prefer_others),
                                       cmocka_unit_test(test_full_ones_refuse),
                                       cmocka_unit_test(test_the_pool_has_a_bound),
                                       cmocka_unit_test(test_slow_start)};
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
