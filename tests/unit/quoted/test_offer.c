/* A quote as its buyer gets it: signed by us, the same bytes each time, and payable as it says. */
#include "services/quoted/offer.h"

#include "libcommon/eth/hex.h"
#include "libcommon/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define KEY "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"

static const char text[] = "tokens: { ODD: { decimals: 6, index: 1 } }\n"
                           "services: { api: it }\n"
                           "durations: [30]\n"
                           "tiers: { big: { limits: { rate: 65535, requests: 9007199254740992,"
                           " bandwidth: 65535 }, prices: { ODD: 3 } } }\n";
static const struct pricebook_chain chain = {.domain = {4441, {1}}, .tokens = {[1] = {0xaa}}};

static struct pricebook *book;
static struct sign_key *key;

static int setup(void **state)
{
    struct err err;
    (void)state;
    if (pricebook_parse("book", text, strlen(text), &chain, &book, &err) != 0 ||
        sign_key_from_hex(KEY, &key, &err) != 0)
        return -1;
    book->tiers[0].plan = 9;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pricebook_unref(&book);
    sign_key_free(&key);
    return 0;
}

static struct offer_wish wish(void)
{
    return (struct offer_wish){.book = book,
                               .service = book->services,
                               .tier = book->tiers,
                               .token = book->tokens,
                               .duration = book->durations,
                               .subscriber = {0xcc, 1, 2, 3},
                               .domain = chain.domain,
                               .bucket = 1795000200,
                               .ttl = 300};
}

static struct offer make(const struct offer_wish *asked, const struct quote_terms *slot)
{
    struct terms_offer terms;
    struct offer offer;
    struct err err;
    assert_int_equal(offer_terms(asked, slot, &terms, &err), TERMS_OK);
    assert_int_equal(offer_make(asked, &terms, key, &offer, &err), 0);
    return offer;
}

static const char *member(json_t *json, const char *path, const char *name)
{
    json_t *at = path != NULL ? json_object_get(json, path) : json;
    const char *value = json_string_value(json_object_get(at, name));
    assert_non_null(value);
    return value;
}

static void signature_is_ours(void **state)
{
    struct quote_terms slot = {0};
    struct offer_wish asked = wish();
    struct offer offer = make(&asked, &slot);
    AUTO_FREE char *body = offer.body;
    AUTO_JSON json_t *json = NULL;
    struct word digest;
    struct err err;
    uint8_t signature[64], signer[20], ours[20];
    (void)state;
    assert_int_equal(json_parse(body, strlen(body), &json, &err), 0);
    assert_string_equal(member(json, NULL, "id"), offer.id);
    assert_int_equal(word_from_hex(offer.id, &digest), 0);
    assert_int_equal(hex_decode(member(json, NULL, "signature"), signature, 64), 0);
    assert_int_equal(sign_recover(&digest, signature, 64, signer), 0);
    sign_key_address(key, ours);
    assert_memory_equal(signer, ours, 20);
    assert_string_equal(member(json, NULL, "amount_due"), "3000000");
    assert_string_equal(member(json, NULL, "expires_at"), "2026-11-18T11:20:59Z");
    assert_int_equal(offer.expires, 1795000200 + 659);
}

static void not_signed(const struct quote *quote, const uint8_t signature[64], const uint8_t us[20])
{
    struct word digest = quote_digest(&chain.domain, quote);
    uint8_t signer[20];
    if (sign_recover(&digest, signature, 64, signer) == 0)
        assert_memory_not_equal(signer, us, 20);
}

/* Every single bit of what is signed, and of the signature. */
static void every_bit_counts(void **state)
{
    struct quote quote = {.subscriber = {0xcc, 1, 2, 3},
                          .service_id = quote_service_id("api"),
                          .token = {0xaa},
                          .terms = word_from_u64(123456789)};
    struct word digest = quote_digest(&chain.domain, &quote);
    uint8_t signature[64], us[20], signer[20];
    struct err err;
    (void)state;
    assert_int_equal(sign_digest_compact(key, &digest, signature, &err), 0);
    sign_key_address(key, us);
    assert_int_equal(sign_recover(&digest, signature, 64, signer), 0);
    assert_memory_equal(signer, us, 20);
    for (size_t bit = 0; bit < sizeof(quote) * 8; bit++) {
        uint8_t *byte = (uint8_t *)&quote + bit / 8;
        *byte ^= (uint8_t)(1 << bit % 8);
        not_signed(&quote, signature, us);
        *byte ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t bit = 0; bit < sizeof(signature) * 8; bit++) {
        signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
        not_signed(&quote, signature, us);
        signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    struct quote_domain elsewhere = chain.domain;
    elsewhere.chain_id++;
    digest = quote_digest(&elsewhere, &quote);
    assert_int_equal(sign_recover(&digest, signature, 64, signer), 0);
    assert_memory_not_equal(signer, us, 20);
}

static void terms_fit_the_slot(void **state)
{
    struct quote_terms slot = {0};
    struct offer_wish asked = wish();
    struct terms_offer terms;
    struct err err;
    (void)state;
    assert_int_equal(offer_terms(&asked, &slot, &terms, &err), TERMS_OK);
    assert_int_equal(terms.terms.quota, UINT32_MAX);
    assert_int_equal(terms.terms.rate, 65535);
    assert_int_equal(terms.terms.bandwidth, 65535);
    assert_int_equal(terms.terms.plan, 9);
}

static void same_bytes(void **state)
{
    struct quote_terms slot = {0};
    struct offer_wish asked = wish();
    struct offer first = make(&asked, &slot), second = make(&asked, &slot);
    (void)state;
    assert_string_equal(first.body, second.body);
    free(second.body);
    asked.bucket += 300;
    second = make(&asked, &slot);
    assert_string_not_equal(first.id, second.id);
    free(first.body);
    free(second.body);
}

/* Nothing is due: there is nothing to approve, only the quote to be paid. */
static void nothing_due(void **state)
{
    struct quote_terms slot = {.start = 1795000200,
                               .expiry = 1796000000,
                               .paid = 3000000,
                               .plan = 1,
                               .seq = 1,
                               .token = 1};
    struct offer_wish asked = wish();
    struct offer offer = make(&asked, &slot);
    AUTO_FREE char *body = offer.body;
    AUTO_JSON json_t *json = NULL;
    struct err err;
    (void)state;
    assert_int_equal(json_parse(body, strlen(body), &json, &err), 0);
    assert_string_equal(member(json, NULL, "amount_due"), "0");
    assert_string_equal(member(json, NULL, "kind"), "change");
    assert_int_equal(json_array_size(json_object_get(json, "transactions")), 1);
}

static void refusals_say_why(void **state)
{
    struct quote_terms slot = {.start = 1795000200,
                               .expiry = 1796000000,
                               .paid = 3000001,
                               .plan = 1,
                               .seq = 1,
                               .token = 1};
    struct offer_wish asked = wish();
    struct terms_offer terms;
    struct err why;
    (void)state;
    assert_int_equal(offer_terms(&asked, &slot, &terms, &why), TERMS_HOLDS_MORE);
    assert_non_null(strstr(why.msg, "3.000001 ODD"));
    slot.token = 2;
    assert_int_equal(offer_terms(&asked, &slot, &terms, &why), TERMS_OTHER_TOKEN);
    assert_non_null(strstr(why.msg, "another token"));
    slot.seq = UINT16_MAX;
    assert_int_equal(offer_terms(&asked, &slot, &terms, &why), TERMS_NO_SEQ);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signature_is_ours), cmocka_unit_test(terms_fit_the_slot),
        cmocka_unit_test(every_bit_counts),  cmocka_unit_test(terms_fit_the_slot),
        cmocka_unit_test(same_bytes),        cmocka_unit_test(nothing_due),
        cmocka_unit_test(refusals_say_why),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
