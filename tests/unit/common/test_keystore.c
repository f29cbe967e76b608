/* Web3 secret storage: its authors' vectors, every bound and every member, wrong passwords. */
#include "vectors.h"

#include "libcommon/eth/keystore.h"
#include "libcommon/json.h"

#define VECTORS SOURCE_DIR "/tests/unit/common/vectors/keystore.json"

static int open_text(const json_t *json, const char *password, struct sign_key **key,
                     struct err *err)
{
    struct keystore keystore;
    AUTO_FREE char *text = json_text(json);
    if (keystore_parse(text, strlen(text), &keystore, err) != 0)
        return -1;
    return keystore_decrypt(&keystore, password, key, err);
}

static void opens(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors_load(VECTORS);
    const char *name;
    json_t *v;
    json_object_foreach(all, name, v)
    {
        struct err err = {{0}};
        struct sign_key *key = NULL, *want = NULL;
        uint8_t secret[32], address[20], got[20];
        vectors_exact(v, "secret", secret, 32);
        assert_int_equal(sign_key_from_secret(secret, &want, &err), 0);
        sign_key_address(want, address);
        sign_key_free(&want);
        if (open_text(json_object_get(v, "json"), vectors_str(v, "password"), &key, &err) != 0)
            fail_msg("%s: %s", name, err.msg);
        sign_key_address(key, got);
        sign_key_free(&key);
        assert_memory_equal(got, address, 20);
    }
    assert_int_equal(json_object_size(all), 4);
}

/* The cheap vector, whose member at `path` (a/b/c) becomes `value`; NULL takes it away. */
static json_t *changed(const char *path, json_t *value)
{
    AUTO_JSON json_t *all = vectors_load(VECTORS);
    json_t *root = json_deep_copy(json_object_get(json_object_get(all, "31 bytes"), "json"));
    json_t *object = root;
    char name[32];
    for (;;) {
        size_t len = strcspn(path, "/");
        snprintf(name, sizeof(name), "%.*s", (int)len, path);
        if (path[len] == '\0')
            break;
        object = json_object_get(object, name);
        path += len + 1;
    }
    if (value == NULL)
        json_object_del(object, name);
    else
        json_object_set_new(object, name, value);
    return root;
}

static void tells_wrong_passwords_and_damage(void **state)
{
    (void)state;
    static const char *const passwords[] = {"", "fo", "foo ", "Foo", "foo\n"};
    struct err err;
    struct sign_key *key = NULL;
    AUTO_JSON json_t *good = changed("id", NULL);
    for (size_t i = 0; i < ARRAY_LEN(passwords); i++) {
        assert_int_equal(open_text(good, passwords[i], &key, &err), -1);
        assert_contains(err.msg, "the password is wrong");
    }
    AUTO_JSON json_t *mac =
        changed("crypto/mac",
                json_string("d5e116151c6aa71470e67a7d42c9620c75c4d23229847dcc127794f0732b0db4"));
    assert_int_equal(open_text(mac, "foo", &key, &err), -1);
    AUTO_JSON json_t *cut = changed("crypto/ciphertext", json_string("9517cd"));
    assert_int_equal(open_text(cut, "foo", &key, &err), -1);
    assert_null(key);
}

static void compares_the_address(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors_load(VECTORS);
    struct err err;
    struct sign_key *key = NULL;
    uint8_t secret[32], address[20];
    char text[43];
    vectors_exact(json_object_get(all, "31 bytes"), "secret", secret, 32);
    assert_int_equal(sign_key_from_secret(secret, &key, &err), 0);
    sign_key_address(key, address);
    sign_key_free(&key);
    hex_encode_bare(address, 20, text);
    AUTO_JSON json_t *right = changed("address", json_string(text));
    assert_int_equal(open_text(right, "foo", &key, &err), 0);
    sign_key_free(&key);
    hex_address_format(address, text);
    AUTO_JSON json_t *prefixed = changed("address", json_string(text));
    assert_int_equal(open_text(prefixed, "foo", &key, &err), 0);
    sign_key_free(&key);
    AUTO_JSON json_t *other =
        changed("address", json_string("00000000000000000000000000000000000000ff"));
    assert_int_equal(open_text(other, "foo", &key, &err), -1);
    assert_contains(err.msg, "does not belong");
    assert_null(key);
}

#define NUMBER(n) .number = (n)
#define TEXT(t)   .text = (t)

static void refuses(void **state)
{
    (void)state;

    static const struct {
        const char *path;
        const char *text;
        int64_t number;
        const char *says;
    } cases[] = {
        {"version", NUMBER(1), .says = "version"},
        {"version", NUMBER(4), .says = "version"},
        {"version", TEXT("3"), .says = "version"},
        {"version", .says = "version"},
        {"crypto", .says = "crypto"},
        {"crypto", TEXT("x"), .says = "crypto"},
        {"crypto/cipher", TEXT("aes-256-ctr"), .says = "aes-128-ctr"},
        {"crypto/cipher", .says = "cipher"},
        {"crypto/extra", NUMBER(1), .says = "extra"},
        {"crypto/cipherparams/extra", NUMBER(1), .says = "extra"},
        {"crypto/cipherparams/iv", TEXT("e0c41130a323adc1446fc82f724bca"), .says = "iv"},
        {"crypto/cipherparams/iv", TEXT("e0c41130a323adc1446fc82f724bca2f00"), .says = "iv"},
        {"crypto/cipherparams/iv", TEXT("g0c41130a323adc1446fc82f724bca2f"), .says = "iv"},
        {"crypto/cipherparams", .says = "cipherparams"},
        {"crypto/ciphertext", TEXT(""), .says = "ciphertext"},
        {"crypto/ciphertext", NUMBER(7), .says = "ciphertext"},
        {"crypto/ciphertext",
         TEXT("9517cd5bdbe69076f9bf5057248c6c050141e970efa36ce53692d5d59a39840000"),
         .says = "ciphertext"},
        {"crypto/mac", TEXT("d5e1"), .says = "mac"},
        {"crypto/mac", .says = "mac"},
        {"crypto/kdf", TEXT("argon2"), .says = "scrypt and pbkdf2"},
        {"crypto/kdf", TEXT("pbkdf2"), .says = "kdfparams"},
        {"crypto/kdf", .says = "kdf"},
        {"crypto/kdfparams", .says = "kdfparams"},
        {"crypto/kdfparams/extra", NUMBER(1), .says = "extra"},
        {"crypto/kdfparams/dklen", NUMBER(16), .says = "dklen"},
        {"crypto/kdfparams/dklen", NUMBER(64), .says = "dklen"},
        {"crypto/kdfparams/salt", .says = "salt"},
        {"crypto/kdfparams/salt", TEXT("0"), .says = "salt"},
        {"crypto/kdfparams/n", NUMBER(-1), .says = "n: "},
        {"crypto/kdfparams/n", NUMBER(1), .says = "power of two"},
        {"crypto/kdfparams/n", NUMBER(3), .says = "power of two"},
        {"crypto/kdfparams/n", NUMBER(262143), .says = "power of two"},
        {"crypto/kdfparams/n", NUMBER(1 << 20), .says = "memory"}, /* with r = 8: 1 GiB */
        {"crypto/kdfparams/n", NUMBER(1 << 30), .says = "memory"},
        {"crypto/kdfparams/n", NUMBER(1ll << 40), .says = "n: "},
        {"crypto/kdfparams/r", NUMBER(-8), .says = "r: "},
        {"crypto/kdfparams/r", NUMBER(1ll << 33), .says = "r: "},
        {"crypto/kdfparams/p", NUMBER(-1), .says = "p: "},
        {"crypto/kdfparams/p", NUMBER(1ll << 40), .says = "p: "},
        {"address", TEXT("00"), .says = "address"},
        {"address", NUMBER(5), .says = "address"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err;
        struct keystore keystore;
        json_t *value = cases[i].text != NULL  ? json_string(cases[i].text)
                        : cases[i].number != 0 ? json_integer(cases[i].number)
                                               : NULL;
        AUTO_JSON json_t *json = changed(cases[i].path, value);
        AUTO_FREE char *text = json_text(json);
        if (keystore_parse(text, strlen(text), &keystore, &err) == 0)
            fail_msg("case %zu, %s, was taken", i, cases[i].path);
        assert_contains(err.msg, cases[i].says);
    }
}

/* Each parameter is within its own bound; their product is not. */
static void refuses_work_without_end(void **state)
{
    (void)state;

    static const struct {
        const char *params, *says;
    } cases[] = {
        {"\"kdf\":\"scrypt\",\"kdfparams\":{\"dklen\":32,\"n\":262144,\"r\":8,\"p\":5,\"salt\":"
         "\"\"}",
         "work"},
        {"\"kdf\":\"scrypt\",\"kdfparams\":{\"dklen\":32,\"n\":2,\"r\":1,\"p\":65536,\"salt\":"
         "\"\"}",
         NULL},
        {"\"kdf\":\"scrypt\",\"kdfparams\":{\"dklen\":32,\"n\":128,\"r\":2,\"p\":65536,\"salt\":"
         "\"\"}",
         "work"},
        {"\"kdf\":\"scrypt\",\"kdfparams\":{\"dklen\":32,\"n\":262144,\"r\":8,\"p\":4,\"salt\":"
         "\"\"}",
         NULL},
        {"\"kdf\":\"pbkdf2\",\"kdfparams\":{\"dklen\":32,\"c\":5000000,\"prf\":\"hmac-sha256\","
         "\"salt\":\"\"}",
         NULL},
        {"\"kdf\":\"pbkdf2\",\"kdfparams\":{\"dklen\":32,\"c\":5000001,\"prf\":\"hmac-sha256\","
         "\"salt\":\"\"}",
         "c: "},
        {"\"kdf\":\"pbkdf2\",\"kdfparams\":{\"dklen\":32,\"c\":0,\"prf\":\"hmac-sha256\",\"salt\":"
         "\"\"}",
         "c: "},
        {"\"kdf\":\"pbkdf2\",\"kdfparams\":{\"dklen\":32,\"c\":9,\"prf\":\"hmac-sha512\",\"salt\":"
         "\"\"}",
         "prf"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {{0}};
        struct keystore keystore;
        AUTO_FREE char *text = mem_printf(
            "{\"version\":3,\"Crypto\":{\"cipher\":\"aes-128-ctr\",\"cipherparams\":{\"iv\":"
            "\"00000000000000000000000000000000\"},\"ciphertext\":\"00\",\"mac\":"
            "\"0000000000000000000000000000000000000000000000000000000000000000\",%s}}",
            cases[i].params);
        int result = keystore_parse(text, strlen(text), &keystore, &err);
        if (result != (cases[i].says == NULL ? 0 : -1))
            fail_msg("case %zu: %s", i, err.msg);
        if (cases[i].says != NULL)
            assert_contains(err.msg, cases[i].says);
    }
}

static void refuses_other_texts(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "", "{", "[]", "3", "null", "{}", "{\"version\":3,\"version\":3}"};
    struct err err;
    struct keystore keystore;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(keystore_parse(cases[i], strlen(cases[i]), &keystore, &err), -1);
    AUTO_FREE char *spaces = mem_alloc(KEYSTORE_MAX + 1);
    memset(spaces, ' ', KEYSTORE_MAX + 1);
    assert_int_equal(keystore_parse(spaces, KEYSTORE_MAX + 1, &keystore, &err), -1);
    assert_contains(err.msg, "larger");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens),
        cmocka_unit_test(tells_wrong_passwords_and_damage),
        cmocka_unit_test(compares_the_address),
        cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_work_without_end),
        cmocka_unit_test(refuses_other_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
