/* The chunk decoder, whole and in every split of its input. */
#include "libcommon/mem.h"
#include "services/proxy/chunk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct outcome {
    enum chunk_result result;
    char payload[256];
    size_t payload_len;
    char trailers[256];
    size_t trailers_len;
    size_t left; /* input behind the end */
};

static void feed(struct chunk_decoder *decoder, const char *in, size_t len, struct outcome *out)
{
    AUTO_FREE char *copy = mem_strndup(in, len);
    memcpy(copy, in, len);
    size_t consumed = 0, data_len = 0;
    char *data = NULL;
    if (out->result != CHUNK_MORE) {
        out->left += len;
        return;
    }
    out->result = chunk_decode(decoder, copy, len, &consumed, &data, &data_len);
    if (out->result == CHUNK_ERROR)
        return;
    memcpy(out->payload + out->payload_len, data, data_len);
    out->payload_len += data_len;
    out->left += len - consumed;
}

static void run(const char *in, size_t split, struct outcome *out)
{
    struct chunk_decoder decoder;
    size_t len = strlen(in);
    memset(out, 0, sizeof(*out));
    chunk_init(&decoder);
    feed(&decoder, in, split, out);
    feed(&decoder, in + split, len - split, out);
    out->trailers_len = decoder.trailers_len;
    if (decoder.trailers_len)
        memcpy(out->trailers, decoder.trailers, decoder.trailers_len);
    chunk_free(&decoder);
}

static void bodies_are_decoded_in_every_split(void **state)
{
    static const struct {
        const char *in;
        enum chunk_result result;
        const char *payload, *trailers;
        size_t left;
    } cases[] = {
        {"0\r\n\r\n", CHUNK_END, "", "", 0},
        {"3\r\nabc\r\n0\r\n\r\n", CHUNK_END, "abc", "", 0},
        {"3\r\nabc\r\n2\r\nde\r\n00\r\n\r\nGET", CHUNK_END, "abcde", "", 3},
        {"a;x=y;z\r\n0123456789\r\n0\r\n\r\n", CHUNK_END, "0123456789", "", 0},
        {"A\r\n0123456789\r\n0\r\nT: u\r\nV: w\r\n\r\n", CHUNK_END, "0123456789",
         "T: u\r\nV: w\r\n", 0},
        {"3\r\nab", CHUNK_MORE, "ab", "", 0},
        {"0\r\n", CHUNK_MORE, "", "", 0},
        {"\r\n", CHUNK_ERROR, "", "", 0},
        {"x\r\n", CHUNK_ERROR, "", "", 0},
        {"0x3\r\nabc\r\n", CHUNK_ERROR, "", "", 0},
        {"5_0\r\n", CHUNK_ERROR, "", "", 0},
        {"3 \r\nabc\r\n", CHUNK_ERROR, "", "", 0},
        {" 3\r\nabc\r\n", CHUNK_ERROR, "", "", 0},
        {"+3\r\nabc\r\n", CHUNK_ERROR, "", "", 0},
        {"3\nabc\r\n", CHUNK_ERROR, "", "", 0},
        {"3\r\nabcd", CHUNK_ERROR, "", "", 0},
        {"3\r\nabc\n0\r\n\r\n", CHUNK_ERROR, "", "", 0},
        {"fffffffffffffffff\r\n", CHUNK_ERROR, "", "", 0},
        {"3;a\001b\r\n", CHUNK_ERROR, "", "", 0},
        {"0\r\nT: u\n\r\n", CHUNK_ERROR, "", "", 0},
        {"0\r\n\n", CHUNK_ERROR, "", "", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t split = 0; split <= strlen(cases[i].in); split++) {
            struct outcome out;
            run(cases[i].in, split, &out);
            assert_int_equal(out.result, cases[i].result);
            if (out.result == CHUNK_ERROR)
                continue;
            assert_int_equal(out.payload_len, strlen(cases[i].payload));
            assert_memory_equal(out.payload, cases[i].payload, out.payload_len);
            assert_int_equal(out.trailers_len, strlen(cases[i].trailers));
            assert_memory_equal(out.trailers, cases[i].trailers, out.trailers_len);
            assert_int_equal(out.left, cases[i].left);
        }
    }
}

static enum chunk_result decode_repeated(const char *start, const char *piece, size_t times)
{
    struct chunk_decoder decoder;
    enum chunk_result result = CHUNK_MORE;
    chunk_init(&decoder);
    for (size_t i = 0; i <= times && result == CHUNK_MORE; i++) {
        AUTO_FREE char *copy = mem_strdup(i == 0 ? start : piece);
        size_t consumed, data_len;
        char *data;
        result = chunk_decode(&decoder, copy, strlen(copy), &consumed, &data, &data_len);
    }
    chunk_free(&decoder);
    return result;
}

static void what_is_not_payload_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(decode_repeated("1;", "x", CHUNK_MAX_EXTENSION - 1), CHUNK_MORE);
    assert_int_equal(decode_repeated("1;", "x", CHUNK_MAX_EXTENSION + 1), CHUNK_ERROR);
    assert_int_equal(decode_repeated("", "1;0123456789\r\na\r\n", CHUNK_MAX_OVERHEAD / 9),
                     CHUNK_ERROR);
    assert_int_equal(decode_repeated("0\r\n", "a: b\r\n", CHUNK_MAX_TRAILERS / 6), CHUNK_MORE);
    assert_int_equal(decode_repeated("0\r\n", "a: b\r\n", CHUNK_MAX_TRAILERS), CHUNK_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bodies_are_decoded_in_every_split),
                                       cmocka_unit_test(what_is_not_payload_is_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
