/* Keccak-256 against viem, at every edge of the sponge's block. */
#include "vectors.h"

#include "libcommon/eth/keccak.h"
#include "libcommon/json.h"

static void hashes_as_viem(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors_load(SOURCE_DIR "/tests/unit/common/vectors/eth.json");
    size_t i;
    json_t *vector;
    json_array_foreach(json_object_get(all, "keccak"), i, vector)
    {
        uint8_t data[1024], want[32], got[32];
        size_t len = vectors_bytes(vector, "data", data, sizeof(data));
        vectors_exact(vector, "hash", want, 32);
        keccak256(data, len, got);
        assert_memory_equal(got, want, 32);
    }
    assert_true(i > 10);
}

static void is_not_sha3(void **state)
{
    (void)state;
    static const uint8_t empty[] = {0xc5, 0xd2, 0x46, 0x01, 0x86, 0xf7, 0x23, 0x3c};
    uint8_t got[32];
    keccak256(NULL, 0, got);
    assert_memory_equal(got, empty, sizeof(empty));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_as_viem),
        cmocka_unit_test(is_not_sha3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
