/* A digest tells any two different answers apart, and is the same for the same. */
#include "services/payd/claim.h"

#include "libcommon/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void events_make(struct evm_event events[2])
{
    memset(events, 0, 2 * sizeof(*events));
    for (int64_t i = 0; i < 2; i++) {
        events[i].kind = i == 0 ? EVM_PAID : EVM_TRANSFER;
        events[i].log_index = 4 + i;
        events[i].amount = word_from_u64(7);
        snprintf(events[i].tx_hash, sizeof(events[i].tx_hash), "0x%064d", 1);
    }
}

static void nothing(struct evm_event *event)
{
    (void)event;
}

static void kind(struct evm_event *event)
{
    event->kind = EVM_REFUNDED;
}

static void log_index(struct evm_event *event)
{
    event->log_index += 1000;
}

static void transaction(struct evm_event *event)
{
    event->tx_hash[65] = 'e';
}

static void subscriber(struct evm_event *event)
{
    event->subscriber[19] ^= 1;
}

static void service(struct evm_event *event)
{
    event->service_id.b[0] ^= 1;
}

static void token(struct evm_event *event)
{
    event->token[0] ^= 1;
}

static void terms(struct evm_event *event)
{
    event->terms.b[31] ^= 1;
}

static void amount(struct evm_event *event)
{
    event->amount.b[0] ^= 1;
}

static void seq(struct evm_event *event)
{
    event->seq++;
}

static void flag(struct evm_event *event)
{
    event->revoked = true;
}

static void transfer(struct evm_event *event)
{
    event->transfer_id.b[7] ^= 1;
}

static void account(struct evm_event *event)
{
    event->account[3] ^= 1;
}

static void each_field_counts(void **state)
{
    static void (*const changes[])(struct evm_event *) = {
        nothing, kind,   log_index, transaction, subscriber, service, token,
        terms,   amount, seq,       flag,        transfer,   account};
    uint8_t digests[ARRAY_LEN(changes) * 2][CLAIM_DIGEST], again[CLAIM_DIGEST];
    size_t count = 0;

    (void)state;
    for (size_t which = 0; which < 2; which++) {
        for (size_t i = which; i < ARRAY_LEN(changes); i++) {
            struct evm_event events[2];
            events_make(events);
            changes[i](&events[which]);
            claim_digest(events, 2, true, digests[count]);
            claim_digest(events, 2, true, again);
            assert_memory_equal(digests[count++], again, CLAIM_DIGEST);
        }
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(digests[i], digests[k], CLAIM_DIGEST);
    }
}

static void number_and_order_count(void **state)
{
    uint8_t digests[5][CLAIM_DIGEST], own[CLAIM_DIGEST];
    struct evm_event events[2], turned[2];

    (void)state;
    events_make(events);
    turned[0] = events[1];
    turned[1] = events[0];
    claim_digest(NULL, 0, true, digests[0]);
    claim_digest(&events[0], 1, true, digests[1]);
    claim_digest(&events[1], 1, true, digests[2]);
    claim_digest(events, 2, true, digests[3]);
    claim_digest(turned, 2, true, digests[4]);
    claim_digest(events, 2, false, own);
    assert_memory_equal(own, digests[1], CLAIM_DIGEST);
    for (size_t i = 0; i < ARRAY_LEN(digests); i++) {
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(digests[i], digests[k], CLAIM_DIGEST);
    }
}

static void claims_are_the_same_or_not(void **state)
{
    struct claim a = {.count = 2}, b;

    (void)state;
    for (size_t i = 0; i < a.count; i++) {
        a.blocks[i].at.number = 5 + (int64_t)i;
        snprintf(a.blocks[i].at.hash, sizeof(a.blocks[i].at.hash), "0x%064zu", i);
    }
    assert_int_equal(claim_newest(&a)->number, 6);
    b = a;
    assert_true(claim_same(&a, &b));
    b.count = 1;
    assert_false(claim_same(&a, &b));
    b = a;
    b.blocks[0].at.number = 4;
    assert_false(claim_same(&a, &b));
    b = a;
    b.blocks[1].at.hash[9] = 'a';
    assert_false(claim_same(&a, &b));
    b = a;
    b.blocks[1].digest[31] = 1;
    assert_false(claim_same(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field_counts),
        cmocka_unit_test(number_and_order_count),
        cmocka_unit_test(claims_are_the_same_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
