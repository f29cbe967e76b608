/* The PROXY protocol: what is a header, what is none, and that every prefix of one is MORE. */
#include "services/proxy/proxy_protocol.h"

#include "libcommon/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

struct row {
    const char *data;
    size_t len;
    enum proxy_protocol_result result;
    const char *source; /* NULL: not known */
    unsigned source_port, destination_port;
    const char *destination;
};

#define TEXT(text) (text), sizeof(text) - 1
#define BAD(text)                                                                                  \
    {                                                                                              \
        TEXT(text), PROXY_PROTOCOL_BAD, NULL, 0, 0, NULL                                           \
    }
#define UNKNOWN(text)                                                                              \
    {                                                                                              \
        TEXT(text), PROXY_PROTOCOL_DONE, NULL, 0, 0, NULL                                          \
    }

static const struct row rows[] = {
    {TEXT("PROXY TCP4 1.2.3.4 5.6.7.8 11 22\r\n"), PROXY_PROTOCOL_DONE, "1.2.3.4", 11, 22,
     "5.6.7.8"},
    {TEXT("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), PROXY_PROTOCOL_DONE,
     "255.255.255.255", 65535, 65535, "255.255.255.255"},
    {TEXT("PROXY TCP6 2001:db8::1 ::2 0 1\r\n"), PROXY_PROTOCOL_DONE, "2001:db8::1", 0, 1, "::2"},
    {TEXT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
          "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     PROXY_PROTOCOL_DONE, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, 65535,
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    UNKNOWN("PROXY UNKNOWN\r\n"),
    UNKNOWN("PROXY UNKNOWN 1.2.3.4 anything at all\r\n"),
    BAD("PROXY UNKNOWNX\r\n"),
    BAD("PROXY TCP4 1.2.3.4 5.6.7.8 11 22\n"),
    BAD("PROXY TCP4 1.2.3.4 5.6.7.8 11 22\r\r\n"),
    BAD("PROXY TCP4 1.2.3.4\r5.6.7.8 11 22\r\n"),
    BAD("PROXY TCP4  1.2.3.4 5.6.7.8 11 22\r\n"),
    BAD("PROXY TCP4 1.2.3.4 5.6.7.8 11 22 \r\n"),
    BAD("PROXY TCP4 1.2.3.4 5.6.7.8 11 022\r\n"),
    BAD("PROXY TCP4 1.2.3.4 5.6.7.8 11 65536\r\n"),
    BAD("PROXY TCP4 1.2.3.4 5.6.7.8 11 -1\r\n"),
    BAD("PROXY TCP4 1.2.3.4 5.6.7.8 11\r\n"),
    BAD("PROXY TCP4 1.2.3.4 5.6.7 11 22\r\n"),
    BAD("PROXY TCP4 ::1 ::1 11 22\r\n"),
    BAD("PROXY TCP6 1.2.3.4 5.6.7.8 11 22\r\n"),
    BAD("PROXY TCP5 1.2.3.4 5.6.7.8 11 22\r\n"),
    BAD("PROXY \r\n"),
    BAD("PROXY UNKNOWN aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
    BAD("proxy TCP4 1.2.3.4 5.6.7.8 11 22\r\n"),
    BAD("GET / HTTP/1.1\r\n"),
    {TEXT(SIGNATURE "\x21\x11\0\x0c\1\2\3\4\5\6\7\x08\0\x0b\0\x16"), PROXY_PROTOCOL_DONE, "1.2.3.4",
     11, 22, "5.6.7.8"},
    {TEXT(SIGNATURE "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
                    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\0\0\0\1"),
     PROXY_PROTOCOL_DONE, "2001:db8::1", 0, 1, "::2"},
    {TEXT(SIGNATURE "\x21\x11\0\x12\1\2\3\4\5\6\7\x08\0\x0b\0\x16\4\0\0\4\0\0"),
     PROXY_PROTOCOL_DONE, "1.2.3.4", 11, 22, "5.6.7.8"},
    UNKNOWN(SIGNATURE "\x20\0\0\0"),
    UNKNOWN(SIGNATURE "\x20\x11\0\3abc"),
    UNKNOWN(SIGNATURE "\x21\0\0\3abc"),
    BAD(SIGNATURE "\x21\x11\0\x0b\1\2\3\4\5\6\7\x08\0\x0b\0"),
    BAD(SIGNATURE "\x21\x21\0\x0c\1\2\3\4\5\6\7\x08\0\x0b\0\x16"),
    BAD(SIGNATURE "\x21\x31\0\x0c\1\2\3\4\5\6\7\x08\0\x0b\0\x16"),
    BAD(SIGNATURE "\x21\x12\0\x0c\1\2\3\4\5\6\7\x08\0\x0b\0\x16"),
    BAD(SIGNATURE "\x11\x11\0\x0c\1\2\3\4\5\6\7\x08\0\x0b\0\x16"),
    BAD(SIGNATURE "\x22\x11\0\x0c\1\2\3\4\5\6\7\x08\0\x0b\0\x16"),
    BAD(SIGNATURE "\x21\x11\xff\xff\1\2\3\4\5\6\7\x08\0\x0b\0\x16"),
    BAD(SIGNATURE "\x21\x11\0\x0f\1\2\3\4\5\6\7\x08\0\x0b\0\x16\4\0\1"),
    BAD(SIGNATURE "\x21\x11\0\x0d\1\2\3\4\5\6\7\x08\0\x0b\0\x16\4"),
};

static void expect_address(const struct address *address, const char *text)
{
    char got[48];
    got[address_text(address, got)] = '\0';
    assert_string_equal(got, text);
}

static void whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct proxy_header header;
        enum proxy_protocol_result result =
            proxy_protocol_parse(rows[i].data, rows[i].len, &header);
        if (result != rows[i].result)
            fail_msg("row %zu: %.60s", i, rows[i].data);
        if (result != PROXY_PROTOCOL_DONE)
            continue;
        assert_int_equal(header.len, rows[i].len);
        assert_int_equal(header.known, rows[i].source != NULL);
        if (!header.known)
            continue;
        expect_address(&header.source, rows[i].source);
        expect_address(&header.destination, rows[i].destination);
        assert_int_equal(header.source_port, rows[i].source_port);
        assert_int_equal(header.destination_port, rows[i].destination_port);
    }
}

/* Exact copies, so that a sanitizer sees a read behind the end. */
static void in_parts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t len = 0; len < rows[i].len; len++) {
            struct proxy_header header;
            AUTO_FREE char *part = mem_alloc(len + 1);
            char *copy = mem_resize(part, len ? len : 1, 1);
            part = copy;
            memcpy(copy, rows[i].data, len);
            enum proxy_protocol_result result = proxy_protocol_parse(copy, len, &header);
            assert_int_not_equal(result, PROXY_PROTOCOL_DONE);
            if (rows[i].result == PROXY_PROTOCOL_DONE)
                assert_int_equal(result, PROXY_PROTOCOL_MORE);
        }
    }
}

static void what_follows_is_left(void **state)
{
    struct proxy_header header;
    (void)state;
    assert_int_equal(proxy_protocol_parse(
                         TEXT("PROXY TCP4 1.2.3.4 5.6.7.8 11 22\r\nGET / HTTP/1.1\r\n"), &header),
                     PROXY_PROTOCOL_DONE);
    assert_int_equal(header.len, 34);
}

static void written_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (unsigned version = 1; version <= 2; version++) {
            struct proxy_header header, again;
            char out[PROXY_PROTOCOL_WRITE_MAX];
            if (proxy_protocol_parse(rows[i].data, rows[i].len, &header) != PROXY_PROTOCOL_DONE)
                continue;
            size_t len = proxy_protocol_write(version, &header, out);
            assert_int_equal(proxy_protocol_parse(out, len, &again), PROXY_PROTOCOL_DONE);
            assert_int_equal(again.len, len);
            assert_int_equal(again.known, header.known);
            assert_memory_equal(&again.source, &header.source, sizeof(header.source));
            assert_memory_equal(&again.destination, &header.destination,
                                sizeof(header.destination));
            assert_int_equal(again.source_port, header.source_port);
            assert_int_equal(again.destination_port, header.destination_port);
        }
    }
}

/* Of one IPv4 and one IPv6 address both go out as IPv6, in either version. */
static void families_are_not_mixed(void **state)
{
    struct proxy_header header = {.known = true, .source_port = 1, .destination_port = 2}, again;
    char out[PROXY_PROTOCOL_WRITE_MAX];
    (void)state;
    assert_int_equal(address_parse(h2o_iovec_init(H2O_STRLIT("1.2.3.4")), &header.source), 0);
    assert_int_equal(address_parse(h2o_iovec_init(H2O_STRLIT("2001:db8::1")), &header.destination),
                     0);
    size_t len = proxy_protocol_write(1, &header, out);
    assert_memory_equal(out, "PROXY TCP6 ::ffff:1.2.3.4 2001:db8::1 1 2\r\n", len);
    for (unsigned version = 1; version <= 2; version++) {
        len = proxy_protocol_write(version, &header, out);
        assert_int_equal(proxy_protocol_parse(out, len, &again), PROXY_PROTOCOL_DONE);
        assert_memory_equal(&again.source, &header.source, sizeof(header.source));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(in_parts),
        cmocka_unit_test(what_follows_is_left),
        cmocka_unit_test(written_is_read),
        cmocka_unit_test(families_are_not_mixed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
