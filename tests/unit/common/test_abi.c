/* 256-bit words and the ABI against viem; hostile event data. */
#include "vectors.h"

#include "libcommon/eth/abi.h"
#include "libcommon/json.h"

static json_t *vectors(void)
{
    return vectors_load(SOURCE_DIR "/tests/unit/common/vectors/eth.json");
}

static void words_as_viem(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors();
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(all, "words"), i, vector)
    {
        struct word word, other;
        char text[80], hex[67];
        assert_int_equal(word_from_decimal(vectors_str(vector, "decimal"), &word), 0);
        word_hex(&word, hex);
        assert_string_equal(hex, vectors_str(vector, "hex"));
        assert_int_equal(word_from_hex(vectors_str(vector, "short"), &other), 0);
        assert_memory_equal(&word, &other, 32);
        word_decimal(&other, text);
        assert_string_equal(text, vectors_str(vector, "decimal"));
    }
}

static void refuses_what_is_no_word(void **state)
{
    (void)state;
    static const char *const decimals[] = {
        "",
        "-1",
        "+1",
        "01",
        "1 ",
        " 1",
        "1.0",
        "1e3",
        "0x1",
        "115792089237316195423570985008687907853269984665640564039457584007913129639936",
        "999999999999999999999999999999999999999999999999999999999999999999999999999999999999999"};
    static const char *const hexes[] = {
        "",    "0x",  "1",
        "0xg", "0X1", "0x10000000000000000000000000000000000000000000000000000000000000000"};
    struct word word;
    for (size_t i = 0; i < ARRAY_LEN(decimals); i++)
        assert_int_equal(word_from_decimal(decimals[i], &word), -1);
    for (size_t i = 0; i < ARRAY_LEN(hexes); i++)
        assert_int_equal(word_from_hex(hexes[i], &word), -1);
}

static void narrows_only_what_fits(void **state)
{
    (void)state;
    struct word word = word_from_u64(UINT64_MAX);
    uint64_t value = 0;
    uint8_t address[20];
    assert_int_equal(word_to_u64(&word, &value), 0);
    assert_true(value == UINT64_MAX);
    assert_int_equal(word_to_address(&word, address), 0);
    word.b[23] = 1;
    assert_int_equal(word_to_u64(&word, &value), -1);
    word.b[11] = 1;
    assert_int_equal(word_to_address(&word, address), -1);
}

static void bits_round_trip_anywhere(void **state)
{
    (void)state;
    uint64_t value = 0x9e3779b97f4a7c15;
    for (unsigned n = 1; n <= 64; n++)
        for (unsigned lo = 0; lo + n <= 256; lo++) {
            struct word word, ones, zero = {{0}};
            memset(&ones, 0xff, sizeof(ones));
            word = ones;
            word_set_bits(&word, lo, n, value);
            uint64_t want = n == 64 ? value : value & ((1ull << n) - 1);
            assert_true(word_bits(&word, lo, n) == want);
            word_set_bits(&word, lo, n, UINT64_MAX);
            assert_memory_equal(&word, &ones, 32);
            word_set_bits(&zero, lo, n, UINT64_MAX);
            word_set_bits(&zero, lo, n, 0);
            assert_true(zero.b[0] == 0 && memcmp(zero.b, zero.b + 1, 31) == 0);
        }
}

static void selectors_and_topics_as_viem(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors();
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(all, "selectors"), i, vector)
    {
        uint8_t want[4], got[4];
        vectors_exact(vector, "selector", want, 4);
        abi_selector(vectors_str(vector, "signature"), got);
        assert_memory_equal(got, want, 4);
    }
    json_array_foreach(json_object_get(all, "topics"), i, vector)
    {
        uint8_t want[32];
        vectors_exact(vector, "topic", want, 32);
        struct word got = abi_topic(vectors_str(vector, "signature"));
        assert_memory_equal(got.b, want, 32);
    }
}

static void strings_as_viem(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors();
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(all, "strings"), i, vector)
    {
        uint8_t data[256];
        const uint8_t *text;
        size_t text_len, len = vectors_bytes(vector, "data", data, sizeof(data));
        const char *want = vectors_str(vector, "text");
        assert_int_equal(abi_bytes(data, len, 1, &text, &text_len), 0);
        assert_int_equal(text_len, strlen(want));
        assert_memory_equal(text, want, text_len);
        /* Any truncation is seen, but for the padding's. */
        size_t end = (size_t)(text - data) + text_len;
        for (size_t cut = 0; cut < end; cut++)
            assert_int_equal(abi_bytes(data, cut, 1, &text, &text_len), -1);
    }
}

static void refuses_offsets_outside(void **state)
{
    (void)state;
    static const uint64_t offsets[] = {65, 64, 96, UINT64_MAX, UINT64_MAX - 31, 1ull << 63};
    for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
        uint8_t data[64];
        const uint8_t *out;
        size_t len;
        struct word offset = word_from_u64(offsets[i]), size = word_from_u64(1);
        memcpy(data, offset.b, 32);
        memcpy(data + 32, size.b, 32);
        assert_int_equal(abi_bytes(data, sizeof(data), 0, &out, &len), -1);
    }
    struct word word;
    uint8_t data[95] = {0};
    assert_int_equal(abi_word(data, sizeof(data), 1, &word), 0);
    assert_int_equal(abi_word(data, sizeof(data), 2, &word), -1);
    assert_int_equal(abi_word(data, sizeof(data), SIZE_MAX, &word), -1);
    assert_int_equal(abi_word(data, sizeof(data), SIZE_MAX / 32 + 1, &word), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_as_viem),
        cmocka_unit_test(refuses_what_is_no_word),
        cmocka_unit_test(narrows_only_what_fits),
        cmocka_unit_test(bits_round_trip_anywhere),
        cmocka_unit_test(selectors_and_topics_as_viem),
        cmocka_unit_test(strings_as_viem),
        cmocka_unit_test(refuses_offsets_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
