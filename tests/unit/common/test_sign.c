/* Signing byte for byte as viem, recovery, and what recovery must refuse. */
#include "vectors.h"

#include "libcommon/eth/eip712.h"
#include "libcommon/eth/sign.h"
#include "libcommon/json.h"

static void signs_and_recovers_as_viem(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors_load(SOURCE_DIR "/tests/unit/common/vectors/eth.json");
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(all, "messages"), i, v)
    {
        struct err err;
        struct sign_key *key = NULL;
        struct word digest;
        uint8_t address[20], got[20], want65[65], want64[64], signature[65];
        vectors_exact(v, "digest", digest.b, 32);
        vectors_exact(v, "signature", want65, 65);
        vectors_exact(v, "compact", want64, 64);
        vectors_exact(v, "address", address, 20);
        assert_int_equal(sign_key_from_hex(vectors_str(v, "key"), &key, &err), 0);
        sign_key_address(key, got);
        assert_memory_equal(got, address, 20);
        assert_int_equal(sign_digest(key, &digest, signature, &err), 0);
        assert_memory_equal(signature, want65, 65);
        assert_int_equal(sign_digest_compact(key, &digest, signature, &err), 0);
        assert_memory_equal(signature, want64, 64);
        assert_int_equal(sign_recover(&digest, want65, 65, got), 0);
        assert_memory_equal(got, address, 20);
        assert_int_equal(sign_recover(&digest, want64, 64, got), 0);
        assert_memory_equal(got, address, 20);
        want65[64] = (uint8_t)(want65[64] - 27);
        assert_int_equal(sign_recover(&digest, want65, 65, got), 0);
        sign_key_free(&key);
        assert_null(key);
    }
    assert_true(i > 0);
}

static void refuses_keys(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "0x",
        "0x0000000000000000000000000000000000000000000000000000000000000000",
        "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
        "0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff8",
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff8g",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sign_key *key = NULL;
        struct err err;
        assert_int_equal(sign_key_from_hex(cases[i], &key, &err), -1);
        assert_null(key);
        assert_null(strstr(err.msg, "ac0974"));
    }
}

static void accepts_a_key_file_with_a_newline(void **state)
{
    (void)state;
    struct sign_key *key = NULL;
    struct err err;
    assert_int_equal(
        sign_key_from_hex(" 0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80\r\n",
                          &key, &err),
        0);
    sign_key_free(&key);
}

/* n - s with the other parity is the same signature by the same key: EIP-2 refuses it. */
static void negate_s(uint8_t s[32])
{
    static const uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
                                      0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b,
                                      0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41};
    int borrow = 0;
    for (int i = 31; i >= 0; i--) {
        int d = order[i] - s[i] - borrow;
        borrow = d < 0;
        s[i] = (uint8_t)(d + 256 * borrow);
    }
}

static void refuses_signatures(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors_load(SOURCE_DIR "/tests/unit/common/vectors/eth.json");
    const json_t *v = json_array_get(json_object_get(all, "messages"), 1);
    struct word digest;
    uint8_t good[65], bad[66], address[20], right[20];
    vectors_exact(v, "digest", digest.b, 32);
    vectors_exact(v, "signature", good, 65);
    vectors_exact(v, "address", right, 20);

    memcpy(bad, good, 65);
    negate_s(bad + 32);
    bad[64] ^= 27 ^ 28;
    assert_int_equal(sign_recover(&digest, bad, 65, address), -1);
    static const uint8_t vs[] = {2, 3, 26, 29, 31, 35, 255};
    for (size_t i = 0; i < sizeof(vs); i++) {
        memcpy(bad, good, 65);
        bad[64] = vs[i];
        assert_int_equal(sign_recover(&digest, bad, 65, address), -1);
    }
    memset(bad, 0, sizeof(bad));
    assert_int_equal(sign_recover(&digest, bad, 64, address), -1);
    memset(bad, 0xff, sizeof(bad));
    assert_int_equal(sign_recover(&digest, bad, 64, address), -1);
    for (size_t len = 0; len < 70; len++)
        if (len != 64 && len != 65) {
            uint8_t any[70] = {0};
            memcpy(any, good, 65);
            assert_int_equal(sign_recover(&digest, any, len, address), -1);
        }
    /* Any other bit gives another signer or none. */
    for (size_t bit = 0; bit < 512; bit++) {
        memcpy(bad, good, 65);
        bad[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (sign_recover(&digest, bad, 65, address) == 0)
            assert_memory_not_equal(address, right, 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_and_recovers_as_viem),
        cmocka_unit_test(refuses_keys),
        cmocka_unit_test(accepts_a_key_file_with_a_newline),
        cmocka_unit_test(refuses_signatures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
