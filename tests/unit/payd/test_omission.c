/* Which blocks can hold events of ours, by bloom and by receipts. */
#include "services/payd/omission.h"

#include "libcommon/eth/hex.h"
#include "libcommon/eth/keccak.h"
#include "services/payd/evm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t contract[20] = {0x5f, 0xbd, 0xb2, 0x31, 0x56};

static void bloom_add(uint8_t bloom[256], const void *item, size_t len)
{
    uint8_t hash[32];
    keccak256(item, len, hash);
    for (size_t i = 0; i < 6; i += 2) {
        unsigned bit = ((unsigned)hash[i] << 8 | hash[i + 1]) & 2047;
        bloom[255 - bit / 8] |= (uint8_t)(1 << bit % 8);
    }
}

static json_t *header(const uint8_t bloom[256])
{
    char text[2 + 2 * 256 + 1];
    hex_encode(bloom, 256, text);
    return json_pack("{s:s}", "logsBloom", text);
}

static bool possible(const uint8_t bloom[256])
{
    AUTO_JSON json_t *block = header(bloom);
    return omission_possible(block, contract);
}

static void the_bloom_names_address_and_event(void **state)
{
    (void)state;
    const struct word paid = evm_topic(EVM_PAID);
    uint8_t none[256] = {0}, address[256] = {0}, topic[256] = {0}, both[256] = {0}, full[256];
    memset(full, 0xff, sizeof(full));
    bloom_add(address, contract, sizeof(contract));
    bloom_add(topic, paid.b, sizeof(paid.b));
    bloom_add(both, contract, sizeof(contract));
    bloom_add(both, paid.b, sizeof(paid.b));
    assert_false(possible(none));
    assert_false(possible(address));
    assert_false(possible(topic));
    assert_true(possible(both));
    assert_true(possible(full));
}

static void what_is_no_bloom_says_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {"{}",
                                        "{\"logsBloom\":null}",
                                        "{\"logsBloom\":\"0x\"}",
                                        "{\"logsBloom\":\"0xff\"}",
                                        "{\"logsBloom\":5}",
                                        "[]"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        AUTO_JSON json_t *block = json_loads(texts[i], 0, NULL);
        assert_false(omission_possible(block, contract));
    }
    assert_false(omission_possible(NULL, contract));
}

static void receipts(void **state)
{
    (void)state;
    char ours[43], topic[67], other[67];
    const struct word paid = evm_topic(EVM_PAID), transfer = evm_topic(EVM_TRANSFER);
    hex_encode(contract, 20, ours);
    word_hex(&paid, topic);
    word_hex(&transfer, other);
    const char *stranger = "0x6666666666666666666666666666666666666666";

    const struct {
        const char *address, *topic;
        bool want;
    } cases[] = {
        {ours, topic, true},  {ours, other, false}, {stranger, topic, false},
        {"0x", topic, false}, {ours, "0x", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_JSON json_t *json = json_pack("[{s:[]}, {s:[{s:s, s:[s]}]}]", "logs", "logs",
                                           "address", cases[i].address, "topics", cases[i].topic);
        assert_int_equal(omission_receipts_hold(json, contract), cases[i].want);
    }
    static const char *const texts[] = {
        "[]", "{}", "[null]", "[{\"logs\":null}]", "[{\"logs\":[null,5,{}]}]", "null"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        AUTO_JSON json_t *json = json_loads(texts[i], JSON_DECODE_ANY, NULL);
        assert_false(omission_receipts_hold(json, contract));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bloom_names_address_and_event),
        cmocka_unit_test(what_is_no_bloom_says_nothing),
        cmocka_unit_test(receipts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
