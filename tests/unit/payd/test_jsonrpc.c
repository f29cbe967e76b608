/* The envelope of JSON-RPC answers, and what of an endpoint's URL may be told. */
#include "services/payd/jsonrpc.h"

#include "services/payd/rpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void answers(void **state)
{
    (void)state;

    enum { RESULT, ERROR, NEITHER };

    static const struct {
        const char *text;
        int want;
    } cases[] = {
        {"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":\"0x1\"}", RESULT},
        {"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":null}", RESULT},
        {"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":[],\"error\":null}", RESULT},
        {"{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":-32000,\"message\":\"no\"}}", ERROR},
        {"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"no\"}}", ERROR},
        {"{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":1}}", ERROR},
        {"{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"message\":\"no\"}}", NEITHER},
        {"{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":\"no\"}", NEITHER},
        {"{\"jsonrpc\":\"2.0\",\"id\":8,\"result\":1}", NEITHER},
        {"{\"jsonrpc\":\"2.0\",\"id\":null,\"result\":1}", NEITHER},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"7\",\"result\":1}", NEITHER},
        {"{\"jsonrpc\":\"1.0\",\"id\":7,\"result\":1}", NEITHER},
        {"{\"id\":7,\"result\":1}", NEITHER},
        {"{\"jsonrpc\":\"2.0\",\"id\":7}", NEITHER},
        {"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":1,\"error\":{\"code\":1}}", NEITHER},
        {"[{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":1}]", NEITHER},
        {"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":1}x", NEITHER},
        {"", NEITHER},
        {"<html>", NEITHER},
        {"null", NEITHER},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_JSONRPC_ANSWER struct jsonrpc_answer answer = {0};
        struct err err;
        int rc = jsonrpc_answer_parse(cases[i].text, strlen(cases[i].text), 7, &answer, &err);
        int got = rc != 0 ? NEITHER : answer.failed ? ERROR : RESULT;
        if (got != cases[i].want)
            fail_msg("case %zu: %s", i, cases[i].text);
    }
}

static void requests(void **state)
{
    (void)state;
    AUTO_FREE char *text = jsonrpc_request(3, "eth_chainId", json_array());
    assert_string_equal(text,
                        "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"eth_chainId\",\"params\":[]}");
}

static void a_node_s_words_are_made_printable(void **state)
{
    (void)state;
    static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1,\"message\":"
                               "\"a\\n\\u001b[1m\\u00e9\"}}";
    AUTO_JSONRPC_ANSWER struct jsonrpc_answer answer = {0};
    struct err err;
    assert_int_equal(jsonrpc_answer_parse(text, strlen(text), 1, &answer, &err), 0);
    assert_string_equal(answer.message, "a??[1m??");
}

static void names_hold_no_keys(void **state)
{
    (void)state;

    static const struct {
        const char *url, *name;
    } cases[] = {
        {"http://127.0.0.1:8545", "http://127.0.0.1:8545"},
        {"https://rpc.example/v2/KEYKEYKEY", "https://rpc.example"},
        {"https://rpc.example?key=KEYKEYKEY", "https://rpc.example"},
        {"https://user:secret@rpc.example:99/x", "https://rpc.example:99"},
        {"https://user:se@cret@rpc.example/x", "https://rpc.example"},
        {"rpc.example/KEY", "rpc.example"},
        {"", ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char name[128];
        rpc_name(cases[i].url, name);
        assert_string_equal(name, cases[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(requests),
        cmocka_unit_test(a_node_s_words_are_made_printable),
        cmocka_unit_test(names_hold_no_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
