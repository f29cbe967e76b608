/* Digests of typed data and of messages against viem. */
#include "vectors.h"

#include "libcommon/eth/eip712.h"
#include "libcommon/json.h"

static void typed_data_as_viem(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors_load(SOURCE_DIR "/tests/unit/common/vectors/eth.json");
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(all, "typed"), i, v)
    {
        struct eip712_domain domain = {vectors_str(v, "name"),
                                       vectors_str(v, "version"),
                                       (uint64_t)json_integer_value(json_object_get(v, "chain_id")),
                                       {0}};
        uint8_t owner[20], want[32];
        struct word words[3];
        vectors_exact(v, "contract", domain.contract, 20);
        vectors_exact(v, "owner", owner, 20);
        words[0] = word_from_address(owner);
        vectors_exact(v, "value", words[1].b, 32);
        vectors_exact(v, "nonce", words[2].b, 32);

        struct word separator = eip712_separator(&domain);
        vectors_exact(v, "separator", want, 32);
        assert_memory_equal(separator.b, want, 32);
        struct word hash = eip712_struct_hash(vectors_str(v, "type"), words, 3);
        vectors_exact(v, "struct_hash", want, 32);
        assert_memory_equal(hash.b, want, 32);
        struct word digest = eip712_digest(&separator, &hash);
        vectors_exact(v, "digest", want, 32);
        assert_memory_equal(digest.b, want, 32);
    }
    assert_true(i > 0);
}

static void messages_as_viem(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors_load(SOURCE_DIR "/tests/unit/common/vectors/eth.json");
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(all, "messages"), i, v)
    {
        uint8_t want[32];
        const char *text = vectors_str(v, "text");
        struct word digest = eip191_digest(text, strlen(text));
        vectors_exact(v, "digest", want, 32);
        assert_memory_equal(digest.b, want, 32);
    }
    assert_true(i > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(typed_data_as_viem),
        cmocka_unit_test(messages_as_viem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
