/* The packets between payd and its signer: what is written is read, anything else is malformed. */
#include "../common/vectors.h"

#include "services/payd/signer/frame.h"

static const uint8_t data[POLICY_DATA_MAX] = {1, 2, 3, [POLICY_DATA_MAX - 1] = 4};

static struct eth_tx transaction(size_t data_len)
{
    return (struct eth_tx){.chain_id = UINT64_MAX,
                           .nonce = 1,
                           .priority_fee = 2,
                           .max_fee = 1ull << 63,
                           .gas = 500000,
                           .to = {1, [19] = 2},
                           .value = {{3, [31] = 4}},
                           .data = data_len > 0 ? data : NULL,
                           .data_len = data_len};
}

static void requests_survive(void **state)
{
    (void)state;
    for (size_t len = 0; len <= POLICY_DATA_MAX; len++) {
        uint8_t packet[FRAME_REQUEST], again[FRAME_REQUEST];
        struct eth_tx tx = transaction(len);
        struct frame_request got;
        assert_int_equal(frame_write_request(0xdeadbeef, &tx, packet), 0);
        assert_int_equal(frame_read_request(packet, sizeof(packet), &got), 0);
        assert_int_equal(got.id, 0xdeadbeef);
        assert_int_equal(got.tx.data_len, len);
        if (len > 0)
            assert_memory_equal(got.tx.data, data, len);
        assert_memory_equal(tx_digest(&got.tx).b, tx_digest(&tx).b, 32);
        assert_int_equal(frame_write_request(got.id, &got.tx, again), 0);
        assert_memory_equal(again, packet, sizeof(packet));
    }
    uint8_t packet[FRAME_REQUEST];
    struct eth_tx tx = transaction(POLICY_DATA_MAX + 1);
    assert_int_equal(frame_write_request(1, &tx, packet), -1);
}

static void refuses_requests(void **state)
{
    (void)state;
    uint8_t packet[FRAME_REQUEST + 1] = {0};
    struct frame_request got;
    struct eth_tx tx = transaction(4);
    assert_int_equal(frame_write_request(1, &tx, packet), 0);
    for (size_t len = 0; len <= sizeof(packet); len++)
        assert_int_equal(frame_read_request(packet, len, &got), len == FRAME_REQUEST ? 0 : -1);
    for (size_t at = 0; at < 4; at++) { /* magic */
        packet[at] ^= 1;
        assert_int_equal(frame_read_request(packet, FRAME_REQUEST, &got), -1);
        packet[at] ^= 1;
    }
    size_t body = FRAME_REQUEST - POLICY_DATA_MAX;
    for (size_t at = body + 4; at < FRAME_REQUEST; at++) { /* padding */
        packet[at] = 1;
        assert_int_equal(frame_read_request(packet, FRAME_REQUEST, &got), -1);
        packet[at] = 0;
    }
    static const uint32_t lengths[] = {POLICY_DATA_MAX + 1, 0x80000000, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        for (size_t byte = 0; byte < 4; byte++)
            packet[body - 4 + byte] = (uint8_t)(lengths[i] >> (24 - 8 * byte));
        assert_int_equal(frame_read_request(packet, FRAME_REQUEST, &got), -1);
    }
}

static void replies_survive(void **state)
{
    (void)state;
    for (enum frame_kind kind = FRAME_READY; kind < FRAME_KINDS; kind++) {
        uint8_t packet[FRAME_REPLY + 1] = {0};
        struct frame_reply got, reply = {.kind = kind,
                                         .id = 77,
                                         .address = {9, [19] = 8},
                                         .signature = {7, [64] = 28},
                                         .text = "why not"};
        frame_write_reply(&reply, packet);
        assert_int_equal(frame_read_reply(packet, FRAME_REPLY, &got), 0);
        assert_int_equal(got.kind, kind);
        assert_int_equal(got.id, 77);
        if (kind == FRAME_READY)
            assert_memory_equal(got.address, reply.address, 20);
        if (kind == FRAME_SIGNED)
            assert_memory_equal(got.signature, reply.signature, 65);
        if (kind == FRAME_FAILED || kind == FRAME_REFUSED || kind == FRAME_SPENT)
            assert_string_equal(got.text, "why not");
        for (size_t len = 0; len <= sizeof(packet); len++)
            assert_int_equal(frame_read_reply(packet, len, &got), len == FRAME_REPLY ? 0 : -1);
        packet[FRAME_REPLY - 1] = 1;
        assert_int_equal(frame_read_reply(packet, FRAME_REPLY, &got), -1);
    }
}

static void cleans_texts(void **state)
{
    (void)state;
    uint8_t packet[FRAME_REPLY];
    struct frame_reply got, reply = {.kind = FRAME_FAILED};
    memset(reply.text, 'x', sizeof(reply.text));
    memcpy(reply.text, "a\nb\x1b[1mc\xff", 9);
    frame_write_reply(&reply, packet);
    assert_int_equal(frame_read_reply(packet, FRAME_REPLY, &got), 0);
    assert_int_equal(strlen(got.text), FRAME_TEXT - 1);
    assert_memory_equal(got.text, "a?b?[1mc?xx", 11);
    packet[12] = '\n';
    assert_int_equal(frame_read_reply(packet, FRAME_REPLY, &got), -1);
    packet[12] = 'a';
    packet[11] = FRAME_KINDS;
    assert_int_equal(frame_read_reply(packet, FRAME_REPLY, &got), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_survive),
        cmocka_unit_test(refuses_requests),
        cmocka_unit_test(replies_survive),
        cmocka_unit_test(cleans_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
