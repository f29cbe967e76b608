/* payd's messages on the wire. */
#include "vectors.h"

#include "libcommon/proto/payment.h"

#define ID   "0x34636a8761885777e68c0ea60db233e91fd0981a31d75f076f16e8b4d06684ef"
#define SUB  "sub_00112233445566778899aabbccddeeff"
#define ADDR "0x5FbDB2315678afecb367f032d93F642f64180aa3"

static void hints(void **state)
{
    (void)state;
    struct payment_hint hint = {ID, 3, "", ""}, back;
    struct err err;
    AUTO_FREE char *text = payment_hint_encode(&hint);
    assert_string_equal(text, "{\"payment_id\":\"" ID "\",\"revision\":3}");
    assert_int_equal(payment_hint_decode(text, strlen(text), &back, &err), 0);
    assert_same_text(payment_hint_encode(&back), text);
    strcpy(hint.subscription, SUB);
    AUTO_FREE char *activated = payment_hint_encode(&hint);
    assert_string_equal(activated,
                        "{\"payment_id\":\"" ID "\",\"revision\":3,\"subscription\":\"" SUB "\"}");
    assert_int_equal(payment_hint_decode(activated, strlen(activated), &back, &err), 0);
    assert_string_equal(back.subscription, SUB);
    assert_string_equal(back.refused, "");
    strcpy(hint.refused, PAYMENT_REFUSED_REVOKED);
    AUTO_FREE char *refused = payment_hint_encode(&hint);
    assert_contains(refused, ",\"refused\":\"revoked\"}");
    assert_int_equal(payment_hint_decode(refused, strlen(refused), &back, &err), 0);
    assert_string_equal(back.refused, "revoked");

    static const struct {
        const char *text, *error;
    } bad[] = {
        {"{\"payment_id\":\"0x00\",\"revision\":3}", "payment_id: must be"},
        {"{\"payment_id\":\"" ID "\",\"revision\":0}", "revision: must be 1 to"},
        {"{\"payment_id\":\"" ID "\",\"revision\":1,\"subscription\":\"\"}", "subscription: must"},
        {"{\"payment_id\":\"" ID "\",\"revision\":1,\"amount\":1}", "amount: unknown member"},
        {"{\"payment_id\":\"" ID "\",\"revision\":1,\"refused\":\"late\"}", "refused: must be"},
        {"{\"revision\":1}", "payment_id: missing"},
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(payment_hint_decode(bad[i].text, strlen(bad[i].text), &back, &err), -1);
        assert_contains(err.msg, bad[i].error);
    }
}

static void slots(void **state)
{
    (void)state;
    struct payment_slot_request request = {.service_id = word_from_u64(9)}, request_back;
    struct payment_slot slot = {word_from_u64(5), true, false, 1234, 4441, {0}, ""}, slot_back;
    struct err err;
    assert_int_equal(hex_address(ADDR, request.subscriber, &err), 0);
    memcpy(slot.contract, request.subscriber, 20);
    AUTO_FREE char *ask = payment_slot_request_encode(&request);
    assert_string_equal(ask,
                        "{\"subscriber\":\"" ADDR "\",\"service_id\":"
                        "\"0x0000000000000000000000000000000000000000000000000000000000000009\"}");
    assert_int_equal(payment_slot_request_decode(ask, strlen(ask), &request_back, &err), 0);
    assert_same_text(payment_slot_request_encode(&request_back), ask);
    AUTO_FREE char *text = payment_slot_encode(&slot);
    assert_string_equal(
        text, "{\"slot\":\"0x0000000000000000000000000000000000000000000000000000000000000005\","
              "\"pending\":true,\"revoked\":false,\"head\":1234,\"chain_id\":4441,"
              "\"contract\":\"" ADDR "\"}");
    assert_int_equal(payment_slot_decode(text, strlen(text), &slot_back, &err), 0);
    assert_memory_equal(&slot_back.slot, &slot.slot, 32);
    assert_true(slot_back.pending && !slot_back.revoked && slot_back.chain_id == 4441);
    assert_string_equal(slot_back.signer, "");
    memcpy(slot.signer, ADDR, sizeof(ADDR));
    AUTO_FREE char *signed_by = payment_slot_encode(&slot);
    assert_contains(signed_by, "\"signer\":\"" ADDR "\"}");
    assert_int_equal(payment_slot_decode(signed_by, strlen(signed_by), &slot_back, &err), 0);
    assert_string_equal(slot_back.signer, ADDR);
    signed_by[strlen(signed_by) - 3] ^= 1;
    assert_int_equal(payment_slot_decode(signed_by, strlen(signed_by), &slot_back, &err), -1);
    assert_contains(err.msg, "signer: must be an address");

    static const char wrong[] = "{\"subscriber\":\"0x5FbDB2315678afecb367f032d93F642f64180aA3\","
                                "\"service_id\":\"0x09\"}";
    assert_int_equal(payment_slot_request_decode(wrong, strlen(wrong), &request_back, &err), -1);
    assert_contains(err.msg, "subscriber: the address's EIP-55 checksum");
    static const char shorter[] = "{\"subscriber\":\"" ADDR "\",\"service_id\":\"0x09\"}";
    assert_int_equal(payment_slot_request_decode(shorter, strlen(shorter), &request_back, &err),
                     -1);
    assert_contains(err.msg, "service_id: must be 0x and 64");
}

static void status(void **state)
{
    (void)state;
    struct payment_chain_status status = {.ok = true,
                                          .leader = true,
                                          .chain_id = 4441,
                                          .head = 1234,
                                          .confirmed = 1232,
                                          .polled_at = 1790000000},
                                back;
    struct err err;
    assert_int_equal(hex_address(ADDR, status.contract, &err), 0);
    AUTO_FREE char *text = payment_chain_status_encode(&status);
    assert_string_equal(text, "{\"ok\":true,\"chain_id\":4441,\"contract\":\"" ADDR
                              "\",\"head\":1234,\"confirmed\":1232,\"leader\":true,"
                              "\"polled_at\":1790000000}");
    assert_int_equal(payment_chain_status_decode(text, strlen(text), &back, &err), 0);
    assert_true(back.ok && back.leader && back.confirmed == 1232 && back.polled_at == 1790000000);
}

static void errors(void **state)
{
    (void)state;
    struct payment_chain_status status;
    struct err err;
    AUTO_FREE char *text = payment_error_encode("chain-unavailable", "no endpoint answers");
    assert_string_equal(
        text, "{\"error\":{\"code\":\"chain-unavailable\",\"message\":\"no endpoint answers\"}}");
    assert_int_equal(payment_chain_status_decode(text, strlen(text), &status, &err), -1);
    assert_string_equal(err.msg, "chain-unavailable: no endpoint answers");
    AUTO_FREE char *odd = payment_error_encode("internal", "\xff");
    assert_contains(odd, "internal");
    static const char *const forms[] = {"{\"error\":null}", "{\"error\":{}}", "{\"error\":\"x\"}"};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        assert_int_equal(payment_chain_status_decode(forms[i], strlen(forms[i]), &status, &err),
                         -1);
        assert_contains(err.msg, "internal: ");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hints),
        cmocka_unit_test(slots),
        cmocka_unit_test(status),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
