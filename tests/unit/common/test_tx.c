/* EIP-1559 transactions byte for byte as viem signs them. */
#include "vectors.h"

#include "libcommon/eth/sign.h"
#include "libcommon/eth/tx.h"
#include "libcommon/json.h"

#define DATA_MAX 65536

static uint64_t number(const json_t *v, const char *key)
{
    char *end;
    const char *text = vectors_str(v, key);
    uint64_t value = strtoull(text, &end, 10);
    assert_true(*end == '\0');
    return value;
}

/* A long one stands in the vectors by its length: byte i is 37 * i + 1. */
static size_t data_of(const json_t *v, uint8_t *data)
{
    size_t len = (size_t)json_integer_value(json_object_get(v, "data_len"));
    if (len == 0)
        return vectors_bytes(v, "data", data, DATA_MAX);
    assert_true(len <= DATA_MAX);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 37 + 1);
    return len;
}

static void check(const json_t *v, const struct eth_tx *tx)
{
    struct err err;
    struct sign_key *key = NULL;
    AUTO_BUF struct buf raw = {0};
    uint8_t signature[65], address[20], sender[20], want[32];
    struct word digest = tx_digest(tx);
    vectors_exact(v, "digest", want, 32);
    assert_memory_equal(digest.b, want, 32);
    assert_int_equal(sign_key_from_hex(vectors_str(v, "key"), &key, &err), 0);
    assert_int_equal(sign_digest(key, &digest, signature, &err), 0);
    sign_key_free(&key);
    tx_raw(tx, signature, &raw);
    if (json_object_get(v, "raw") != NULL) {
        AUTO_FREE char *text = mem_alloc(2 * raw.len + 3);
        hex_encode(raw.data, raw.len, text);
        assert_string_equal(text, vectors_str(v, "raw"));
    }
    vectors_exact(v, "hash", want, 32);
    assert_memory_equal(tx_hash(&raw).b, want, 32);
    vectors_exact(v, "address", address, 20);
    assert_int_equal(sign_recover(&digest, signature, 65, sender), 0);
    assert_memory_equal(sender, address, 20);
}

static void signs_as_viem(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors_load(SOURCE_DIR "/tests/unit/common/vectors/tx.json");
    AUTO_FREE uint8_t *data = mem_alloc(DATA_MAX);
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(all, "txs"), i, v)
    {
        struct eth_tx tx = {.chain_id = number(v, "chain_id"),
                            .nonce = number(v, "nonce"),
                            .priority_fee = number(v, "priority_fee"),
                            .max_fee = number(v, "max_fee"),
                            .gas = number(v, "gas"),
                            .data = data};
        vectors_exact(v, "to", tx.to, 20);
        assert_int_equal(word_from_decimal(vectors_str(v, "value"), &tx.value), 0);
        tx.data_len = data_of(v, data);
        check(v, &tx);
    }
    assert_true(i > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(signs_as_viem)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
