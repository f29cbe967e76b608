/* RLP at each border between its forms, against viem and the yellow paper's own examples. */
#include "vectors.h"

#include "libcommon/eth/rlp.h"
#include "libcommon/json.h"

static void assert_hex(const struct buf *got, const char *want)
{
    AUTO_FREE char *text = mem_alloc(2 * got->len + 3);
    hex_encode(got->data, got->len, text);
    assert_string_equal(text, want);
}

static void writes_integers(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors_load(SOURCE_DIR "/tests/unit/common/vectors/tx.json");
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(all, "integers"), i, v)
    {
        AUTO_BUF struct buf word_out = {0}, u64_out = {0};
        struct word word;
        uint64_t value;
        assert_int_equal(word_from_decimal(vectors_str(v, "value"), &word), 0);
        rlp_word(&word_out, &word);
        assert_hex(&word_out, vectors_str(v, "rlp"));
        if (word_to_u64(&word, &value) != 0)
            continue;
        rlp_u64(&u64_out, value);
        assert_hex(&u64_out, vectors_str(v, "rlp"));
    }
    assert_true(i > 10);
}

static void writes_strings(void **state)
{
    (void)state;

    static const struct {
        size_t len;
        uint8_t fill;
        const char *head; /* what stands before the bytes */
    } cases[] = {
        {0, 0, "\x80"},         {1, 0x00, ""},
        {1, 0x7f, ""},          {1, 0x80, "\x81"},
        {2, 1, "\x82"},         {55, 1, "\xb7"},
        {56, 1, "\xb8\x38"},    {255, 1, "\xb8\xff"},
        {256, 1, "\xb9\x01"},   {65535, 1, "\xb9\xff\xff"},
        {65536, 1, "\xba\x01"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF struct buf out = {0};
        AUTO_FREE uint8_t *bytes = mem_alloc(cases[i].len + 1);
        memset(bytes, cases[i].fill, cases[i].len);
        rlp_bytes(&out, bytes, cases[i].len);
        size_t head = out.len - cases[i].len;
        assert_true(head >= strlen(cases[i].head));
        if (cases[i].head[0] != '\0')
            assert_memory_equal(out.data, cases[i].head, strlen(cases[i].head));
        if (cases[i].len > 0)
            assert_memory_equal(out.data + head, bytes, cases[i].len);
    }
}

static void writes_lists(void **state)
{
    (void)state;
    AUTO_BUF struct buf items = {0}, small = {0}, empty = {0}, large = {0}, none = {0};
    rlp_bytes(&items, "cat", 3);
    rlp_bytes(&items, "dog", 3);
    rlp_list(&small, &items);
    assert_hex(&small, "0xc88363617483646f67");
    rlp_list(&empty, &none);
    assert_hex(&empty, "0xc0");
    while (items.len < 56)
        rlp_u64(&items, 1);
    rlp_list(&large, &items);
    assert_int_equal(large.len, 58);
    assert_memory_equal(large.data,
                        "\xf8\x38\x83"
                        "cat",
                        6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_integers),
        cmocka_unit_test(writes_strings),
        cmocka_unit_test(writes_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
