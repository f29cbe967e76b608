/* The envelope of JSON-RPC answers, and what of an endpoint's URL may be told. */
#include "services/payd/jsonrpc.h"

#include "libcommon/buf.h"
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

/* anvil writes the bytes of a custom error into its message: without this, whatever reverted made
 * the node look broken. */
static void regression_nul_in_the_words_of_an_error(void **state)
{
    static const char words[] = "{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":3,\"message\":"
                                "\"reverted: \\u0000\\u0001\",\"data\":\"0x8e9c1ea5\"}}";
    static const char result[] = "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":\"0x1\\u0000\"}";
    AUTO_JSONRPC_ANSWER struct jsonrpc_answer answer = {0};
    (void)state;
    assert_int_equal(jsonrpc_answer_parse(words, strlen(words), 7, &answer, NULL), 0);
    assert_true(answer.failed);
    assert_int_equal(answer.code, 3);
    assert_string_equal(answer.message, "reverted:  ?");
    assert_string_equal(answer.data, "0x8e9c1ea5");
    jsonrpc_answer_clear(&answer);
    assert_int_equal(jsonrpc_answer_parse(result, strlen(result), 7, &answer, NULL), -1);
}

#define LOG                                                                                        \
    "{\"address\":\"0x5fbdb2315678afecb367f032d93f642f64180aa3\",\"topics\":[\"0x0000000000000000" \
    "000000000000000000000000000000000000000000000000\"],\"data\":\"0x\",\"blockNumber\":\"0x1\"," \
    "\"transactionHash\":\"0x0000000000000000000000000000000000000000000000000000000000000000\","  \
    "\"transactionIndex\":\"0x0\",\"blockHash\":"                                                  \
    "\"0x00000000000000000000000000000000000000000000000"                                          \
    "00000000000000000\",\"logIndex\":\"0x0\",\"removed\":false}"

/* Eight MiB of {} became more than a GiB in memory, once for each endpoint. */
static void regression_many_small_values_are_refused(void **state)
{
    static const struct {
        const char *value;
        bool taken;
    } cases[] = {{"{}", false}, {"[]", false}, {"0", false}, {"\"\"", false}, {LOG, true}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF struct buf text = {0};
        AUTO_JSONRPC_ANSWER struct jsonrpc_answer answer = {0};
        struct err err = {{0}};
        buf_printf(&text, "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":[%s", cases[i].value);
        while (text.len < 8 * 1024 * 1024)
            buf_printf(&text, ",%s", cases[i].value);
        buf_puts(&text, "]}");
        int rc = jsonrpc_answer_parse(text.data, text.len, 7, &answer, &err);
        if (rc != (cases[i].taken ? 0 : -1))
            fail_msg("%s: %s", cases[i].value, err.msg);
        assert_true(cases[i].taken || strstr(err.msg, "values") != NULL);
    }
}

static void data_of_errors(void **state)
{
    static const struct {
        const char *data, *want;
    } cases[] = {
        {"\"0xAb\"", "0xAb"}, {"{\"data\":\"0x01\"}", "0x01"},
        {"\"ab\"", ""},       {"\"0xzz\"", ""},
        {"{\"x\":1}", ""},    {"null", ""},
        {"[1]", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_JSONRPC_ANSWER struct jsonrpc_answer answer = {0};
        AUTO_FREE char *text = mem_printf("{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":3,"
                                          "\"message\":\"m\",\"data\":%s}}",
                                          cases[i].data);
        assert_int_equal(jsonrpc_answer_parse(text, strlen(text), 7, &answer, NULL), 0);
        assert_string_equal(answer.data, cases[i].want);
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

#define OK(id)  "{\"jsonrpc\":\"2.0\",\"id\":" #id ",\"result\":" #id "}"
#define BAD(id) "{\"jsonrpc\":\"2.0\",\"id\":" #id ",\"error\":{\"code\":-1,\"message\":\"no\"}}"

static void batches_are_answered_whole(void **state)
{
    (void)state;

    enum { WHOLE, REFUSED, NEITHER };

    static const struct {
        const char *text;
        int want;
    } cases[] = {
        {"[" OK(7) "," OK(8) "," OK(9) "]", WHOLE},
        {"[" OK(9) "," OK(7) "," OK(8) "]", WHOLE},
        {"[" OK(9) "," BAD(7) "," OK(8) "]", WHOLE},
        {"[" OK(7) "," OK(8) "]", NEITHER},
        {"[" OK(7) "," OK(8) "," OK(8) "]", NEITHER},
        {"[" OK(7) "," BAD(8) "," BAD(8) "]", NEITHER},
        {"[" OK(7) "," OK(8) "," OK(9) "," OK(9) "]", NEITHER},
        {"[" OK(6) "," OK(7) "," OK(8) "]", NEITHER},
        {"[" OK(8) "," OK(9) "," OK(10) "]", NEITHER},
        {"[" OK(7) "," OK(8) "," OK("9") "]", NEITHER},
        {"[" OK(7) "," OK(8) "," BAD(null) "]", NEITHER},
        {"[" OK(7) "," OK(8) ",{\"id\":9,\"result\":1}]", NEITHER},
        {"[" OK(7) "," OK(8) ",null]", NEITHER},
        {"[]", NEITHER},
        {"null", NEITHER},
        {"", NEITHER},
        {"[" OK(7) "," OK(8) "," OK(9) "", NEITHER},
        {BAD(null), REFUSED},
        {"[" BAD(null) "]", REFUSED},
        {"{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32600}}", REFUSED},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct jsonrpc_answer out[3];
        struct err err;
        bool refused;
        const char *text = cases[i].text;
        int rc = jsonrpc_batch_parse(text, strlen(text), 7, 3, out, &refused, &err);
        int got = refused && rc == 0 ? REFUSED : rc == 0 ? WHOLE : NEITHER;
        if (got != cases[i].want)
            fail_msg("case %zu: %s", i, text);
        for (size_t k = 0; k < 3; k++) {
            if (got == WHOLE && !out[k].failed)
                assert_int_equal(json_integer_value(out[k].result), 7 + k);
            if (got == NEITHER)
                assert_null(out[k].result);
            jsonrpc_answer_clear(&out[k]);
        }
    }
}

/* The distance from the id that was asked to such a one has no place in 64 bits. */
static void regression_ids_at_the_ends_of_their_range(void **state)
{
    static const char *const ids[] = {"-9223372036854775808", "9223372036854775807",
                                      "-9223372036854775807"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        AUTO_FREE char *text = mem_printf("[" OK(7) ",{\"jsonrpc\":\"2.0\",\"id\":%s,"
                                                    "\"result\":1}]",
                                          ids[i]);
        struct jsonrpc_answer out[2];
        bool refused;
        assert_int_equal(jsonrpc_batch_parse(text, strlen(text), 7, 2, out, &refused, NULL), -1);
        assert_null(out[0].result);
    }
}

static void batches_are_asked_in_order(void **state)
{
    (void)state;
    AUTO_JSON json_t *params = json_pack("[s]", "x");
    const struct jsonrpc_call calls[] = {{"a", params}, {"b", params}};
    AUTO_FREE char *text = jsonrpc_batch_request(5, calls, 2);
    assert_string_equal(text,
                        "[{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"a\",\"params\":[\"x\"]},"
                        "{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"b\",\"params\":[\"x\"]}]");
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
        cmocka_unit_test(regression_nul_in_the_words_of_an_error),
        cmocka_unit_test(regression_many_small_values_are_refused),
        cmocka_unit_test(data_of_errors),
        cmocka_unit_test(requests),
        cmocka_unit_test(a_node_s_words_are_made_printable),
        cmocka_unit_test(batches_are_answered_whole),
        cmocka_unit_test(regression_ids_at_the_ends_of_their_range),
        cmocka_unit_test(batches_are_asked_in_order),
        cmocka_unit_test(names_hold_no_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
