/* Frames are followed alike however they are cut, and what RFC 6455 forbids is found before it is
 * passed on. */
#include "libcommon/mem.h"
#include "services/proxy/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MASK "\x01\x02\x03\x04"

struct run {
    const char *why; /* NULL: no violation */
    unsigned messages, frames;
    size_t passed, past;
    uint64_t sum; /* of the bytes that were passed on, in their order */
    bool boundary;
};

static void pass(struct run *run, const void *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        run->sum = run->sum * 31 + ((const unsigned char *)data)[i];
    run->passed += len;
}

static void feed(struct websocket *ws, const char *data, size_t len, struct run *run)
{
    size_t used = 0;
    for (size_t at = 0; at < len && !run->why; at += used) {
        const char *why = NULL;
        switch (websocket_step(ws, data + at, len - at, &used, &why)) {
        case WEBSOCKET_ERROR:
            run->why = why;
            assert_non_null(why);
            break;
        case WEBSOCKET_MORE:
            assert_int_equal(at + used, len);
            break;
        case WEBSOCKET_HEAD:
            run->frames++;
            run->messages += websocket_begins(ws);
            pass(run, ws->head, ws->head_len);
            break;
        case WEBSOCKET_PAYLOAD:
            pass(run, data + at, used);
            break;
        case WEBSOCKET_PAST:
            run->past += used;
            break;
        }
    }
    run->boundary = websocket_boundary(ws);
}

static struct run run_split(bool from_client, bool deflate, const char *in, size_t len,
                            size_t split)
{
    struct run run = {.why = NULL};
    struct websocket ws;
    websocket_init(&ws, from_client, deflate);
    feed(&ws, in, split, &run);
    feed(&ws, in + split, len - split, &run);
    return run;
}

static struct run run_bytes(bool from_client, bool deflate, const char *in, size_t len)
{
    struct run run = {.why = NULL};
    struct websocket ws;
    websocket_init(&ws, from_client, deflate);
    for (size_t i = 0; i < len; i++)
        feed(&ws, in + i, 1, &run);
    return run;
}

#define IN(text) text, sizeof(text) - 1

struct flow {
    bool from_client, deflate;
    const char *in;
    size_t len;
    const char *why; /* part of it; NULL: sound */
    unsigned frames, messages;
    size_t passed; /* without what is held back or refused */
    bool boundary;
};

static const struct flow flows[] = {
    /* what a server sends */
    {false, false, IN("\x81\x02hi"), NULL, 1, 1, 4, true},
    {false, false, IN("\x82\x00"), NULL, 1, 1, 2, true},
    {false, false, IN("\x81\x02h"), NULL, 1, 1, 3, false},
    {false, false, IN("\x81"), NULL, 0, 0, 0, true},
    {false, false,
     IN("\x01\x01"
        "a\x80\x01"
        "b"),
     NULL, 2, 1, 6, true},
    {false, false,
     IN("\x01\x01"
        "a\x89\x01!\x00\x00\x8a\x00\x80\x00"),
     NULL, 5, 1, 12, true},
    {false, false, IN("\x81\x02hi\x82\x01!\x88\x00"), NULL, 3, 2, 9, true},
    {false, false, IN("\x88\x02\x03\xe8\x81\x01x"), NULL, 1, 0, 4, true},
    {false, false, IN("\x88\x00trailing"), NULL, 1, 0, 2, true},
    {false, true, IN("\xc1\x01x"), NULL, 1, 1, 3, true},
    {false, true, IN("\x41\x01x\x80\x01y"), NULL, 2, 1, 6, true},
    /* what a client sends */
    {true, false, IN("\x81\x82" MASK "hi"), NULL, 1, 1, 8, true},
    {true, false, IN("\x88\x80" MASK), NULL, 1, 0, 6, true},
    {true, false, IN("\x89\x81" MASK "!"), NULL, 1, 0, 7, true},
    /* what nobody may send */
    {true, false, IN("\x81\x02hi"), "not masked", 0, 0, 0, true},
    {false, false, IN("\x81\x82" MASK "hi"), "is masked", 0, 0, 0, true},
    {false, false, IN("\x81\x00\x80\x00"), "continues nothing", 1, 1, 2, true},
    {false, false, IN("\x01\x00\x01\x00"), "inside another", 1, 1, 2, true},
    {false, false, IN("\x01\x00\x82\x00"), "inside another", 1, 1, 2, true},
    {false, false, IN("\x09\x00"), "fragmented", 0, 0, 0, true},
    {false, false, IN("\x08\x00"), "fragmented", 0, 0, 0, true},
    {false, false, IN("\x89\x7e\x00\x7e"), "too long", 0, 0, 0, true},
    {false, false, IN("\x88\x01x"), "half a code", 0, 0, 0, true},
    {false, false, IN("\x83\x00"), "opcode", 0, 0, 0, true},
    {false, false, IN("\x87\x00"), "opcode", 0, 0, 0, true},
    {false, false, IN("\x8b\x00"), "opcode", 0, 0, 0, true},
    {false, false, IN("\x8f\x00"), "opcode", 0, 0, 0, true},
    {false, false, IN("\xc1\x00"), "reserved bit", 0, 0, 0, true},
    {false, false, IN("\xa1\x00"), "reserved bit", 0, 0, 0, true},
    {false, false, IN("\x91\x00"), "reserved bit", 0, 0, 0, true},
    {false, true, IN("\xa1\x00"), "reserved bit", 0, 0, 0, true},
    {false, true, IN("\xc9\x00"), "reserved bit", 0, 0, 0, true},
    {false, true, IN("\x41\x00\xc0\x00"), "reserved bit", 1, 1, 2, true},
    {false, false, IN("\x82\x7e\x00\x7d"), "shortest", 0, 0, 0, true},
    {false, false, IN("\x82\x7e\x00\x00"), "shortest", 0, 0, 0, true},
    {false, false, IN("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff"), "shortest", 0, 0, 0, true},
    {false, false, IN("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"), "too large", 0, 0, 0, true},
    {false, false, IN("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), "too large", 0, 0, 0, true},
};

static void check(const struct flow *flow, const struct run *run)
{
    if (flow->why) {
        assert_non_null(run->why);
        assert_non_null(strstr(run->why, flow->why));
    } else {
        assert_null(run->why);
    }
    assert_int_equal(run->frames, flow->frames);
    assert_int_equal(run->messages, flow->messages);
    assert_int_equal(run->passed, flow->passed);
    assert_int_equal(run->boundary, flow->boundary);
}

static void flows_are_followed_in_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(flows); i++) {
        const struct flow *flow = &flows[i];
        struct run bytes = run_bytes(flow->from_client, flow->deflate, flow->in, flow->len);
        check(flow, &bytes);
        for (size_t split = 0; split <= flow->len; split++) {
            struct run run =
                run_split(flow->from_client, flow->deflate, flow->in, flow->len, split);
            check(flow, &run);
            assert_int_equal(run.sum, bytes.sum);
        }
    }
}

static size_t write_head(char *out, uint64_t len, unsigned form)
{
    size_t bytes = form == 127 ? 8 : form == 126 ? 2 : 0;
    out[0] = '\x82';
    out[1] = (char)(bytes ? form : len);
    for (size_t i = 0; i < bytes; i++)
        out[2 + i] = (char)(len >> 8 * (bytes - 1 - i));
    return 2 + bytes;
}

static void every_length_form_is_read(void **state)
{
    static const struct {
        uint64_t len;
        unsigned form;
        bool sound;
    } cases[] = {
        {0, 0, true},
        {1, 0, true},
        {125, 0, true},
        {125, 126, false},
        {126, 126, true},
        {65535, 126, true},
        {65535, 127, false},
        {65536, 127, true},
        {UINT32_MAX, 127, true},
        {(uint64_t)UINT32_MAX + 1, 127, true},
        {INT64_MAX, 127, true},
        {(uint64_t)INT64_MAX + 1, 127, false},
        {UINT64_MAX, 127, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char head[WEBSOCKET_HEADER_MAX];
        const char *why = NULL;
        struct websocket ws;
        size_t len = write_head(head, cases[i].len, cases[i].form), used = 0;
        websocket_init(&ws, false, false);
        enum websocket_step step = websocket_step(&ws, head, len, &used, &why);
        assert_int_equal(step, cases[i].sound ? WEBSOCKET_HEAD : WEBSOCKET_ERROR);
        if (!cases[i].sound)
            continue;
        assert_int_equal(used, len);
        assert_int_equal(ws.left, cases[i].len);
        assert_int_equal(websocket_boundary(&ws), cases[i].len == 0);
    }
}

/* Lengths at every edge, with their payload, in reads of an odd size. */
static void payloads_are_counted_to_their_end(void **state)
{
    static const size_t lengths[] = {0, 1, 125, 126, 127, 65535, 65536, 70001};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        size_t n = lengths[i];
        AUTO_FREE char *frame = mem_zalloc(n + WEBSOCKET_HEADER_MAX);
        size_t head = write_head(frame, n, n > 65535 ? 127 : n > 125 ? 126 : 0);
        struct run run = {.why = NULL};
        struct websocket ws;
        websocket_init(&ws, false, false);
        for (size_t at = 0; at < head + n; at += 997)
            feed(&ws, frame + at, head + n - at < 997 ? head + n - at : 997, &run);
        assert_null(run.why);
        assert_int_equal(run.passed, head + n);
        assert_int_equal(run.messages, 1);
        assert_true(run.boundary);
        feed(&ws, "\x81\x00", 2, &run);
        assert_int_equal(run.messages, 2);
    }
}

static void close_frames_are_sound_themselves(void **state)
{
    char long_reason[200];

    (void)state;
    memset(long_reason, 'x', sizeof(long_reason) - 1);
    long_reason[sizeof(long_reason) - 1] = '\0';
    const char *const reasons[] = {"", "the quota is used up", long_reason};
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        for (int masked = 0; masked <= 1; masked++) {
            char frame[WEBSOCKET_CLOSE_MAX];
            size_t len = websocket_close(frame, 1008, reasons[i], masked, 0x04030201);
            struct run run = run_split(masked, false, frame, len, len);
            assert_null(run.why);
            assert_int_equal(run.frames, 1);
            assert_int_equal(run.passed, len);
            size_t at = masked ? 6 : 2;
            unsigned char high = (unsigned char)frame[at], low = (unsigned char)frame[at + 1];
            assert_int_equal(masked ? high ^ 1 : high, 1008 >> 8);
            assert_int_equal(masked ? low ^ 2 : low, 1008 & 0xff);
        }
    }
}

static void keys_and_accepts(void **state)
{
    static const struct {
        const char *key;
        bool valid;
    } cases[] = {
        {"dGhlIHNhbXBsZSBub25jZQ==", true},
        {"AAAAAAAAAAAAAAAAAAAAAA==", true},
        {"", false},
        {"dGhlIHNhbXBsZSBub25jZQ=", false},
        {"dGhlIHNhbXBsZSBub25jZQ===", false},
        {"dGhlIHNhbXBsZSBub25jZQAA", false},
        {"dGhlIHNhbXBsZSBub25j!Q==", false},
        {"dGhlIHNhbXBsZSBub25jZR==", false},
        {"=GhlIHNhbXBsZSBub25jZQ==", false},
        {"dGhlIHNhbXBsZSBub25jZQA=", false},
    };

    char accept[WEBSOCKET_ACCEPT_LEN];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(websocket_key_valid(cases[i].key, strlen(cases[i].key)), cases[i].valid);
    websocket_accept("dGhlIHNhbXBsZSBub25jZQ==", accept); /* RFC 6455 section 1.3 */
    assert_memory_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", sizeof(accept));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flows_are_followed_in_every_split),
        cmocka_unit_test(every_length_form_is_read),
        cmocka_unit_test(payloads_are_counted_to_their_end),
        cmocka_unit_test(close_frames_are_sound_themselves),
        cmocka_unit_test(keys_and_accepts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
