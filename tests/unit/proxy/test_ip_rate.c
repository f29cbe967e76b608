/* The rates of client addresses: what one may, that nobody else pays for it, and that neither many
 * addresses nor time in between make the table forget who asks too much. */
#include "libcommon/mem.h"
#include "services/proxy/ip_rate.h"
#include "services/proxy/ip_slot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000LL
#define START  (100 * SECOND)

static struct address at(const char *text)
{
    struct address address;

    union {
        const char *in;
        char *out;
    } copy = {.in = text};

    assert_int_equal(address_parse(h2o_iovec_init(copy.out, strlen(text)), &address), 0);
    return address;
}

static struct address number(uint32_t n)
{
    struct address address = at("10.0.0.0");
    for (size_t i = 0; i < 3; i++)
        address.bytes[15 - i] = (uint8_t)(n >> 8 * i);
    return address;
}

static size_t admitted(struct ip_rate *table, const struct address *address, uint64_t scope,
                       int64_t rate, int64_t burst, int64_t now_ns, size_t tries)
{
    size_t count = 0;
    int64_t retry_ns;
    for (size_t i = 0; i < tries; i++)
        count += ip_rate_take(table, address, scope, rate, burst, now_ns, &retry_ns);
    return count;
}

static void a_burst_then_the_rate(void **state)
{
    struct ip_rate *table = ip_rate_new(64);
    struct address a = at("192.0.2.1");
    int64_t retry_ns = 0;
    (void)state;
    assert_int_equal(admitted(table, &a, 0, 10, 5, START, 20), 5);
    assert_false(ip_rate_take(table, &a, 0, 10, 5, START, &retry_ns));
    assert_int_equal(retry_ns, SECOND / 10);
    assert_int_equal(admitted(table, &a, 0, 10, 5, START + SECOND / 5, 20), 2);
    assert_int_equal(admitted(table, &a, 0, 10, 5, START + 10 * SECOND, 20), 5);
    assert_int_equal(admitted(table, &a, 0, 10, 0, START + 20 * SECOND, 20), 10);
    ip_rate_free(&table);
}

static void who_is_one_client(void **state)
{
    static const struct {
        const char *first, *second;
        uint64_t scopes[2];
        bool same;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1", {0, 0}, true},
        {"192.0.2.1", "192.0.2.2", {0, 0}, false},
        {"192.0.2.1", "192.0.2.1", {0, 7}, false},
        {"192.0.2.1", "::ffff:192.0.2.1", {0, 0}, true},
        {"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", {0, 0}, true},
        {"2001:db8:0:1::1", "2001:db8:0:2::1", {0, 0}, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ip_rate *table = ip_rate_new(64);
        struct address first = at(cases[i].first), second = at(cases[i].second);
        assert_int_equal(admitted(table, &first, cases[i].scopes[0], 1, 3, START, 9), 3);
        assert_int_equal(admitted(table, &second, cases[i].scopes[1], 1, 3, START, 9),
                         cases[i].same ? 0 : 3);
        ip_rate_free(&table);
    }
}

/* A table far too small for who comes: each newcomer is let in, the abuser is not forgotten. */
static void a_flood_of_addresses_frees_nobody(void **state)
{
    struct ip_rate *table = ip_rate_new(64);
    struct address abuser = at("192.0.2.1");
    int64_t retry_ns;
    (void)state;
    assert_int_equal(admitted(table, &abuser, 0, 10, 10, START, 50), 10);
    for (uint32_t i = 0; i < 20000; i++) {
        struct address other = number(i);
        assert_true(ip_rate_take(table, &other, 0, 10, 10, START, &retry_ns));
    }
    assert_int_equal(admitted(table, &abuser, 0, 10, 10, START, 50), 0);
    ip_rate_free(&table);
}

/* Buckets hold eight and the hash has a fresh key: of 8,000 one is forgotten in 1 of 100 runs, of
 * 1,000 in 1 of 10,000,000,000. */
static void with_room_all_are_remembered(void **state)
{
    const uint32_t clients = 1000;
    struct ip_rate *table = ip_rate_new(1 << 16);
    size_t forgotten = 0;
    (void)state;
    for (uint32_t i = 0; i < clients; i++) {
        struct address address = number(i);
        assert_int_equal(admitted(table, &address, 0, 1, 2, START, 4), 2);
    }
    for (uint32_t i = 0; i < clients; i++) {
        struct address address = number(i);
        forgotten += admitted(table, &address, 0, 1, 2, START, 1);
    }
    assert_int_equal(forgotten, 0);
    ip_rate_free(&table);
}

static void connections_are_counted_by_address(void **state)
{
    struct ip_slots *slots = ip_slots_new();
    struct address a = at("2001:db8::1"), same = at("2001:db8::2"), b = at("192.0.2.1");
    struct ip_slot *first = ip_slot_take(slots, &a, 2), *second = ip_slot_take(slots, &same, 2);
    (void)state;
    assert_non_null(first);
    assert_non_null(second);
    assert_null(ip_slot_take(slots, &a, 2));
    struct ip_slot *other = ip_slot_take(slots, &b, 2);
    assert_non_null(other);
    ip_slot_release(&second);
    assert_null(second);
    second = ip_slot_take(slots, &a, 2);
    assert_non_null(second);
    ip_slot_release(&first);
    ip_slot_release(&second);
    ip_slot_release(&other);
    ip_slot_release(&other);
    for (size_t i = 0; i < 4096; i++) {
        struct address address = number((uint32_t)i);
        struct ip_slot *slot = ip_slot_take(slots, &address, 1);
        assert_non_null(slot);
        ip_slot_release(&slot);
    }
    ip_slots_free(&slots); /* a sanitizer sees what was not given back */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_then_the_rate),
        cmocka_unit_test(who_is_one_client),
        cmocka_unit_test(a_flood_of_addresses_frees_nobody),
        cmocka_unit_test(with_room_all_are_remembered),
        cmocka_unit_test(connections_are_counted_by_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
