/* Reading test vectors that other people's libraries made, and short names for what tests ask. */
#ifndef TESTS_VECTORS_H
#define TESTS_VECTORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/eth/hex.h"

static inline json_t *vectors_load(const char *path)
{
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error);
    if (json == NULL)
        fail_msg("%s: %s", path, error.text);
    return json;
}

static inline const char *vectors_str(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (text == NULL)
        fail_msg("the vector has no %s", key);
    return text;
}

/* 0x-hex of at most max bytes. */
static inline size_t vectors_bytes(const json_t *object, const char *key, void *out, size_t max)
{
    size_t len = 0;
    if (hex_decode_any(vectors_str(object, key), out, max, &len) != 0)
        fail_msg("%s is not hex of at most %zu bytes", key, max);
    return len;
}

static inline void vectors_exact(const json_t *object, const char *key, void *out, size_t len)
{
    assert_int_equal(vectors_bytes(object, key, out, len), len);
}

/* A decoded message says the same as the text it came from: it is encoded again (owned) and
 * compared byte for byte, which padding inside structs does not disturb. */
static inline void assert_same_text(char *again, const char *text)
{
    assert_string_equal(again, text);
    free(again);
}

#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        if (strstr((text), (part)) == NULL)                                                        \
            fail_msg("\"%s\" does not hold \"%s\"", (text), (part));                               \
    } while (0)

#endif
