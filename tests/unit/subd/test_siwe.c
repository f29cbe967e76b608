/* The parser of Sign-In messages against what the reference library writes, and against what nobody
 * should. */
#include "services/subd/siwe.h"

#include "libcommon/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ADDRESS "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"
#define HEAD    "localhost:8080 wants you to sign in with your Ethereum account:\n" ADDRESS "\n\n"
#define MIDDLE                                                                                     \
    "\nURI: http://localhost:8080\nVersion: 1\nChain ID: 4441\nNonce: 32891756abcdef\n"            \
    "Issued At: 2026-11-21T10:00:00.123Z"
#define FULL                                                                                       \
    HEAD "Sign in to use the service api.\n" MIDDLE                                                \
         "\nExpiration Time: 2026-11-21T10:05:00Z\nNot Before: 2026-11-21T09:00:00+01:00\n"        \
         "Request ID: r-1\nResources:\n- urn:octroi:service:api\n- https://example.com/a?b#c"

static int parse(const char *text, struct siwe *out, struct err *err)
{
    return siwe_parse(text, strlen(text), out, err);
}

static void everything(void **unused)
{
    (void)unused;
    struct siwe out;
    struct err err;
    assert_int_equal(parse(FULL, &out, &err), 0);
    assert_string_equal(out.scheme, "");
    assert_string_equal(out.domain, "localhost:8080");
    assert_string_equal(out.address, ADDRESS);
    assert_string_equal(out.statement, "Sign in to use the service api.");
    assert_string_equal(out.uri, "http://localhost:8080");
    assert_int_equal(out.chain_id, 4441);
    assert_string_equal(out.nonce, "32891756abcdef");
    assert_int_equal(out.issued_at, 1795255200);
    assert_int_equal(out.expires_at, 1795255500);
    assert_int_equal(out.not_before, 1795248000);
    assert_string_equal(out.request_id, "r-1");
    assert_int_equal(out.resource_count, 2);
    assert_string_equal(out.resources[0], "urn:octroi:service:api");
}

static void the_least(void **unused)
{
    (void)unused;
    struct siwe out;
    struct err err;
    assert_int_equal(parse("https://" HEAD MIDDLE, &out, &err), 0);
    assert_string_equal(out.scheme, "https");
    assert_string_equal(out.statement, "");
    assert_int_equal(out.expires_at, 0);
    assert_int_equal(out.resource_count, 0);
}

static void refused(void **unused)
{
    (void)unused;
    static const char *const rows[] = {
        "",
        "\n",
        HEAD,
        FULL "\n",
        FULL "\nmore",
        HEAD MIDDLE "\n",
        HEAD MIDDLE "\nResources:\n",
        HEAD MIDDLE "\nResources:\nurn:x",
        HEAD MIDDLE "\nResources:\n- ",
        HEAD MIDDLE "\nResources:\n- no-colon",
        HEAD MIDDLE "\nResources:\n- urn:a b",
        HEAD MIDDLE "\nNot Before: 2026-11-21T10:00:00Z\nExpiration Time: 2026-11-21T10:05:00Z",
        HEAD MIDDLE "\nExpiration Time: tomorrow",
        HEAD MIDDLE "\nExpiration Time: ",
        HEAD "two\nlines\n" MIDDLE,
        HEAD "tab\there\n" MIDDLE,
        " wants you to sign in with your Ethereum account:\n" ADDRESS "\n\n" MIDDLE,
        "a b wants you to sign in with your Ethereum account:\n" ADDRESS "\n\n" MIDDLE,
        "x wants you to sign in with your Ethereum account: \n" ADDRESS "\n\n" MIDDLE,
        "x wants you to sign in with your Ethereum account:\n"
        "0xd8da6bf26964af9d7eed9e03e53415d37aa96045\n\n" MIDDLE, /* not in EIP-55 case */
        "x wants you to sign in with your Ethereum account:\n"
        "0xd8DA6BF26964aF9D7eEd9e03E53415D37aA96045\n\n" MIDDLE, /* wrong checksum */
        "x wants you to sign in with your Ethereum account:\n" ADDRESS "0\n\n" MIDDLE,
        "x wants you to sign in with your Ethereum account:\n" ADDRESS "\n" MIDDLE,
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct siwe out;
        struct err err = {""};
        if (parse(rows[i], &out, &err) == 0)
            fail_msg("row %zu was accepted", i);
        assert_memory_equal(err.msg, "message: ", 9);
    }
}

/* Each field broken by itself. */
static void broken_fields(void **unused)
{
    (void)unused;

    static const struct {
        const char *from, *to;
    } rows[] = {
        {"Version: 1", "Version: 2"},
        {"Version: 1", "Version: 1 "},
        {"Version: 1\n", ""},
        {"Chain ID: 4441", "Chain ID: 0"},
        {"Chain ID: 4441", "Chain ID: 04441"},
        {"Chain ID: 4441", "Chain ID: -1"},
        {"Chain ID: 4441", "Chain ID: 99999999999999999999"},
        {"Chain ID: 4441", "Chain ID: "},
        {"Nonce: 32891756abcdef", "Nonce: short"},
        {"Nonce: 32891756abcdef", "Nonce: 32891756_abcdef"},
        {"URI: http://localhost:8080", "URI: localhost"},
        {"URI: http://localhost:8080", "URI: :x"},
        {"URI: http://localhost:8080", "uri: http://localhost:8080"},
        {"Issued At: 2026-11-21T10:00:00.123Z", "Issued At: 2026-13-21T10:00:00Z"},
        {"Issued At: 2026-11-21T10:00:00.123Z", "Issued At: 1795255200"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *whole = FULL, *at = strstr(whole, rows[i].from);
        assert_non_null(at);
        AUTO_FREE char *text =
            mem_printf("%.*s%s%s", (int)(at - whole), whole, rows[i].to, at + strlen(rows[i].from));
        struct siwe out;
        struct err err;
        if (parse(text, &out, &err) == 0)
            fail_msg("row %zu was accepted", i);
    }
}

static void bounds(void **unused)
{
    (void)unused;
    struct siwe out;
    struct err err;
    char nul[] = FULL;
    nul[10] = '\0';
    assert_int_equal(siwe_parse(nul, sizeof(nul) - 1, &out, &err), -1);
    AUTO_FREE char *large = mem_alloc(SIWE_MAX + 1);
    memset(large, 'a', SIWE_MAX + 1);
    assert_int_equal(siwe_parse(large, SIWE_MAX + 1, &out, &err), -1);
    assert_int_equal(siwe_parse(large, SIWE_MAX, &out, &err), -1);
    AUTO_FREE char *many =
        mem_printf("%s\nResources:\n- a:1\n- a:2\n- a:3\n- a:4\n- a:5\n- a:6\n- a:7\n- a:8\n- a:9",
                   HEAD MIDDLE);
    assert_int_equal(parse(many, &out, &err), -1);
    assert_non_null(strstr(err.msg, "more than 8 resources"));
}

/* What we write we read, the same. */
static void round_trip(void **unused)
{
    (void)unused;
    struct siwe in, out;
    struct err err;
    assert_int_equal(parse(FULL, &in, &err), 0);
    for (int i = 0; i < 2; i++) {
        AUTO_FREE char *text = siwe_format(&in);
        assert_int_equal(parse(text, &out, &err), 0);
        assert_memory_equal(&in, &out, sizeof(in));
        in.statement[0] = '\0';
        memset(in.statement, 0, sizeof(in.statement));
        memset(in.request_id, 0, sizeof(in.request_id));
        in.not_before = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything),    cmocka_unit_test(the_least), cmocka_unit_test(refused),
        cmocka_unit_test(broken_fields), cmocka_unit_test(bounds),    cmocka_unit_test(round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
