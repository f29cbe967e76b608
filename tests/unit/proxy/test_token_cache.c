/* The token cache: the hash against its published vectors, the cache against a plain list. */
#include "libcommon/mem.h"
#include "services/proxy/token_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t key[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* Of the authors' paper and reference implementation: input 00 01 02 ... */
static void test_siphash(void **state)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } cases[] = {{0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd},  {7, 0xab0200f58b01d137},
                 {8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5}, {16, 0x3f2acc7f57c29bdb},
                 {63, 0x958a324ceb064572}};

    uint8_t data[64];
    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (token_cache_hash(key, data, cases[i].len) != cases[i].hash)
            fail_msg("length %zu", cases[i].len);
}

static struct token_claims claims(int n)
{
    struct token_claims out = {.iat = n, .exp = n + 300, .aud = "api"};
    snprintf(out.sub, sizeof(out.sub), "sub_%032x", (unsigned)n);
    return out;
}

static size_t token(int n, char out[64])
{
    return (size_t)snprintf(out, 64, "header.%d.signature", n);
}

static void test_find(void **state)
{
    struct token_cache *cache = token_cache_new(8, key);
    struct token_claims one = claims(1), other = claims(2);
    char text[64];
    size_t len = token(1, text);
    (void)state;
    assert_null(token_cache_find(cache, text, len));
    token_cache_add(cache, text, len, &one);
    assert_string_equal(token_cache_find(cache, text, len)->sub, one.sub);
    assert_null(token_cache_find(cache, text, len - 1));
    text[len - 1] ^= 1;
    assert_null(token_cache_find(cache, text, len));
    text[len - 1] ^= 1;
    token_cache_add(cache, text, len, &other);
    assert_int_equal(token_cache_count(cache), 1);
    assert_string_equal(token_cache_find(cache, text, len)->sub, other.sub);
    token_cache_clear(cache);
    assert_null(token_cache_find(cache, text, len));
    assert_int_equal(token_cache_count(cache), 0);
    token_cache_free(&cache);
    assert_null(cache);
}

/* Full, it takes the new one and keeps those that are used. */
static void test_bound(void **state)
{
    struct token_cache *cache = token_cache_new(100, key);
    char text[64];
    size_t len, hot = 0;
    (void)state;
    for (int i = 0; i < 10000; i++) {
        struct token_claims c = claims(i);
        len = token(i, text);
        token_cache_add(cache, text, len, &c);
        assert_true(token_cache_count(cache) <= 100);
        len = token(0, text);
        hot += token_cache_find(cache, text, len) != NULL;
    }
    assert_int_equal(hot, 10000);
    for (int i = 0; i < 10000; i++) {
        struct token_claims c = claims(i);
        len = token(i, text);
        const struct token_claims *found = token_cache_find(cache, text, len);
        if (found)
            assert_string_equal(found->sub, c.sub);
    }
    assert_int_equal(token_cache_count(cache), 100);
    token_cache_free(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_siphash),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
