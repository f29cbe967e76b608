/* Hex and EIP-55 addresses. */
#include "vectors.h"

#include "libcommon/json.h"

#include <ctype.h>

static void decodes_exactly(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        int rc;
    } cases[] = {
        {"0x0aFf", 0}, {"0x0aF", -1},   {"0x0aFf00", -1}, {"0X0aff", -1},
        {"0aff", -1},  {"0x", -1},      {"0x0agf", -1},   {"", -1},
        {"0", -1},     {"0x0aff ", -1}, {" 0x0aff", -1},  {"0x-1ff", -1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t out[2] = {0};
        assert_int_equal(hex_decode(cases[i].text, out, 2), cases[i].rc);
        if (cases[i].rc == 0)
            assert_memory_equal(out, "\x0a\xff", 2);
    }
}

static void decodes_any_length_up_to_max(void **state)
{
    (void)state;
    uint8_t out[3];
    size_t len = 9;
    assert_int_equal(hex_decode_any("0x", out, 3, &len), 0);
    assert_int_equal(len, 0);
    assert_int_equal(hex_decode_any("0x010203", out, 3, &len), 0);
    assert_int_equal(len, 3);
    assert_int_equal(hex_decode_any("0x01020304", out, 3, &len), -1);
}

static void round_trips(void **state)
{
    (void)state;
    uint8_t in[256], out[256];
    char text[2 * sizeof(in) + 3];
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)i;
    hex_encode(in, sizeof(in), text);
    assert_int_equal(hex_decode(text, out, sizeof(out)), 0);
    assert_memory_equal(in, out, sizeof(in));
}

static void addresses_as_viem(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors_load(SOURCE_DIR "/tests/unit/common/vectors/eth.json");
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(all, "addresses"), i, item)
    {
        const char *right = json_string_value(item);
        uint8_t address[20], lower_address[20];
        char text[43], lower[43];
        struct err err;
        assert_int_equal(hex_address(right, address, &err), 0);
        hex_address_format(address, text);
        assert_string_equal(text, right);
        for (size_t k = 0; k < sizeof(lower); k++)
            lower[k] = (char)tolower((unsigned char)right[k]);
        assert_int_equal(hex_address(lower, lower_address, &err), 0);
        assert_memory_equal(address, lower_address, 20);
    }
}

static void refuses_wrong_addresses(void **state)
{
    (void)state;

    static const struct {
        const char *text, *error;
    } cases[] = {
        {"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92265", "checksum"},
        {"0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "checksum"},
        {"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb9226", "40 hex digits"},
        {"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb922666", "40 hex digits"},
        {"f39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "40 hex digits"},
        {"", "40 hex digits"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t address[20];
        struct err err;
        assert_int_equal(hex_address(cases[i].text, address, &err), -1);
        assert_contains(err.msg, cases[i].error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_exactly),
        cmocka_unit_test(decodes_any_length_up_to_max),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(addresses_as_viem),
        cmocka_unit_test(refuses_wrong_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
