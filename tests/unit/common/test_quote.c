/* The quote against the vectors that the contracts are tested with. */
#include "vectors.h"

#include "libcommon/eth/sign.h"
#include "libcommon/json.h"
#include "libcommon/proto/quote.h"

static json_t *vectors(void)
{
    return vectors_load(SOURCE_DIR "/contracts/test-vectors/quote.json");
}

static uint64_t field(const json_t *v, const char *name)
{
    return strtoull(vectors_str(json_object_get(v, "fields"), name), NULL, 10);
}

static struct quote_terms terms_of(const json_t *v)
{
    return (struct quote_terms){
        .start = (uint32_t)field(v, "start"),
        .expiry = (uint32_t)field(v, "expiry"),
        .paid = field(v, "paid"),
        .plan = (uint16_t)field(v, "plan"),
        .rate = (uint16_t)field(v, "rate"),
        .bandwidth = (uint16_t)field(v, "bandwidth"),
        .quota = (uint32_t)field(v, "quota"),
        .seq = (uint16_t)field(v, "seq"),
        .token = (uint8_t)field(v, "token"),
        .valid_minutes = (uint32_t)field(v, "valid_until"),
    };
}

static void packs_the_slot_word(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors();
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(all, "quotes"), i, v)
    {
        struct quote_terms terms = terms_of(v), back;
        struct word word = quote_terms_pack(&terms);
        char hex[67];
        word_hex(&word, hex);
        assert_string_equal(hex, vectors_str(v, "terms"));
        quote_terms_unpack(&word, &back);
        struct word again = quote_terms_pack(&back);
        assert_memory_equal(&again, &word, 32);
        assert_true(back.paid == terms.paid && back.expiry == terms.expiry &&
                    back.valid_minutes == terms.valid_minutes);
    }
    assert_true(i > 0);
}

static void quote_of(const json_t *v, struct quote_domain *domain, struct quote *quote)
{
    struct err err;
    domain->chain_id = (uint64_t)json_integer_value(json_object_get(v, "chain_id"));
    assert_int_equal(hex_address(vectors_str(v, "contract"), domain->contract, &err), 0);
    assert_int_equal(hex_address(vectors_str(v, "subscriber"), quote->subscriber, &err), 0);
    assert_int_equal(hex_address(vectors_str(v, "token"), quote->token, &err), 0);
    quote->service_id = quote_service_id(vectors_str(v, "service"));
    assert_int_equal(word_from_hex(vectors_str(v, "terms"), &quote->terms), 0);
}

static void assert_word(const struct word *word, const char *want)
{
    char hex[67];
    word_hex(word, hex);
    assert_string_equal(hex, want);
}

static void names_and_signs(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors();
    struct err err;
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(all, "quotes"), i, v)
    {
        struct quote_domain domain;
        struct quote quote;
        char subscription[QUOTE_SUBSCRIPTION_ID];
        uint8_t want[65], got[65], signer[20], recovered[20];
        quote_of(v, &domain, &quote);
        assert_word(&quote.service_id, vectors_str(v, "service_id"));
        struct word digest = quote_digest(&domain, &quote);
        assert_word(&digest, vectors_str(v, "digest"));
        quote_subscription_id(&domain, quote.subscriber, &quote.service_id, subscription);
        assert_string_equal(subscription, vectors_str(v, "subscription"));

        vectors_exact(v, "signature_compact", want, 64);
        assert_int_equal(hex_address(vectors_str(v, "recovered"), signer, &err), 0);
        assert_int_equal(sign_recover(&digest, want, 64, recovered), 0);
        assert_memory_equal(recovered, signer, 20);
        struct sign_key *key = NULL;
        assert_int_equal(sign_key_from_hex(vectors_str(all, "signer_key"), &key, &err), 0);
        sign_key_address(key, recovered);
        if (memcmp(recovered, signer, 20) == 0) {
            assert_int_equal(sign_digest_compact(key, &digest, got, &err), 0);
            assert_memory_equal(got, want, 64);
        }
        sign_key_free(&key);
    }
}

static void builds_the_call(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors();
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(all, "quotes"), i, v)
    {
        struct quote_domain domain;
        struct quote quote;
        struct word words[5];
        AUTO_BUF struct buf call = {0};
        quote_of(v, &domain, &quote);
        uint8_t signature[64];
        vectors_exact(v, "signature_compact", signature, 64);
        words[0] = quote.service_id;
        words[1] = word_from_address(quote.token);
        words[2] = quote.terms;
        memcpy(words[3].b, signature, 32);
        memcpy(words[4].b, signature + 32, 32);
        abi_call(&call, QUOTE_PAY, words, 5);
        AUTO_FREE char *hex = mem_alloc(2 * call.len + 3);
        hex_encode(call.data, call.len, hex);
        assert_string_equal(hex, vectors_str(v, "pay_calldata"));
    }
}

static void knows_the_events(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors();
    const json_t *topics = json_object_get(all, "topics");
    struct word paid = abi_topic(QUOTE_EVENT_PAID), revoked = abi_topic(QUOTE_EVENT_REVOKED);
    assert_word(&paid, vectors_str(topics, "Paid"));
    assert_word(&revoked, vectors_str(topics, "Revoked"));
    struct word type = abi_topic(QUOTE_TYPE);
    assert_word(&type, vectors_str(all, "quote_type_hash"));
}

static void unused_as_the_contract(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors();
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(all, "dues"), i, v)
    {
        struct word slot_word, terms_word;
        struct quote_terms slot, terms;
        assert_int_equal(word_from_hex(vectors_str(v, "slot"), &slot_word), 0);
        assert_int_equal(word_from_hex(vectors_str(v, "terms"), &terms_word), 0);
        quote_terms_unpack(&slot_word, &slot);
        quote_terms_unpack(&terms_word, &terms);
        uint64_t want = strtoull(vectors_str(v, "unused"), NULL, 10);
        if (slot.token != terms.token) /* the caller's rule: another token counts as nothing */
            want = quote_unused(&slot, terms.start);
        if (quote_unused(&slot, terms.start) != want)
            fail_msg("%s", vectors_str(v, "name"));
    }
    assert_true(i > 0);
}

static void unused_never_exceeds_and_never_grows(void **state)
{
    (void)state;
    struct quote_terms slot = {.start = 1000, .expiry = 1000 + 2592000, .paid = UINT64_MAX};
    uint64_t last = UINT64_MAX;
    for (uint32_t t = 0; t < 2700000; t += 997) {
        uint64_t now = quote_unused(&slot, t);
        assert_true(now <= last);
        last = now;
    }
    assert_true(quote_unused(&slot, 1000) == UINT64_MAX);
    assert_true(quote_unused(&slot, slot.expiry) == 0);
    assert_true(quote_unused(&slot, slot.expiry - 1) > 0);
    slot.expiry = slot.start; /* no such slot is stored; it must not divide by zero */
    assert_true(quote_unused(&slot, 1001) == 0);
}

static void is_valid_to_the_end_of_the_minute(void **state)
{
    (void)state;
    struct quote_terms terms = {.valid_minutes = 0};
    assert_true(quote_valid_until(&terms) == 1767225659);
    terms.valid_minutes = (1u << 24) - 1;
    assert_true(quote_valid_until(&terms) == 1767225600 + 60LL * ((1 << 24) - 1) + 59);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_the_slot_word),
        cmocka_unit_test(names_and_signs),
        cmocka_unit_test(builds_the_call),
        cmocka_unit_test(knows_the_events),
        cmocka_unit_test(unused_as_the_contract),
        cmocka_unit_test(unused_never_exceeds_and_never_grows),
        cmocka_unit_test(is_valid_to_the_end_of_the_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
