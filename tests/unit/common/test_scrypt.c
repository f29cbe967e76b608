/* scrypt against the vectors of RFC 7914 (their first 32 bytes) and, where OpenSSL takes the
 * parameters, against OpenSSL. */
#include "vectors.h"

#include "libcommon/eth/scrypt.h"
#include "libcommon/mem.h"

#include <openssl/evp.h>

static void gives_what_the_rfc_says(void **state)
{
    (void)state;

    static const struct {
        const char *password, *salt;
        uint64_t n, r, p;
        const char *key;
    } cases[] = {
        {"", "", 16, 1, 1, "0x77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"},
        {"password", "NaCl", 1024, 8, 16,
         "0xfdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"},
        {"pleaseletmein", "SodiumChloride", 16384, 8, 1,
         "0x7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err;
        uint8_t key[32];
        char text[67];
        assert_int_equal(scrypt_derive(cases[i].password, (const uint8_t *)cases[i].salt,
                                       strlen(cases[i].salt), cases[i].n, cases[i].r, cases[i].p,
                                       key, &err),
                         0);
        hex_encode(key, 32, text);
        assert_string_equal(text, cases[i].key);
    }
}

static void agrees_with_openssl(void **state)
{
    (void)state;
    static const uint64_t cases[][3] = {
        {2, 1, 1}, {2, 8, 3}, {64, 3, 2}, {4096, 5, 1}, {32768, 1, 1}};
    static const uint8_t salt[] = "any salt";
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err;
        uint8_t want[32], got[32];
        const uint64_t *c = cases[i];
        assert_int_equal(
            EVP_PBE_scrypt("secret", 6, salt, 8, c[0], c[1], c[2], 1ull << 30, want, 32), 1);
        assert_int_equal(scrypt_derive("secret", salt, 8, c[0], c[1], c[2], got, &err), 0);
        assert_memory_equal(got, want, 32);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_what_the_rfc_says),
        cmocka_unit_test(agrees_with_openssl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
