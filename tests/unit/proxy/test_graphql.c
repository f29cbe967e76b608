/* Weighing of GraphQL: what counts, what multiplies, what is refused. */
#include "libcommon/buf.h"
#include "libcommon/mem.h"
#include "services/proxy/graphql.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void documents_are_weighed(void **state)
{
    static const struct {
        const char *text, *name, *variables;
        enum graphql_kind kind;
        int64_t cost;
        unsigned depth;
    } cases[] = {
        {"{a}", NULL, NULL, GRAPHQL_QUERY, 1, 1},
        {"{a b c}", NULL, NULL, GRAPHQL_QUERY, 3, 1},
        {"query{a,b,,c}", NULL, NULL, GRAPHQL_QUERY, 3, 1},
        {"{a{b{c}}}", NULL, NULL, GRAPHQL_QUERY, 3, 3},
        {"{x:a{y:b}}", NULL, NULL, GRAPHQL_QUERY, 2, 2},
        {"mutation M{a}", NULL, NULL, GRAPHQL_MUTATION, 1, 1},
        {"subscription{a}", NULL, NULL, GRAPHQL_SUBSCRIPTION, 1, 1},
        {"{a(first:10){b c}}", NULL, NULL, GRAPHQL_QUERY, 21, 2},
        {"{a(last:10,first:3){b}}", NULL, NULL, GRAPHQL_QUERY, 11, 2},
        {"{a(limit:10){b(first:10){c}}}", NULL, NULL, GRAPHQL_QUERY, 111, 3},
        {"{a(first:0){b}}", NULL, NULL, GRAPHQL_QUERY, 2, 2},
        {"{a(first:-5){b}}", NULL, NULL, GRAPHQL_QUERY, 2, 2},
        {"{a(other:10){b}}", NULL, NULL, GRAPHQL_QUERY, 2, 2},
        {"{a(in:{first:10}){b}}", NULL, NULL, GRAPHQL_QUERY, 2, 2},
        {"{a(first:99999999999999999999){b}}", NULL, NULL, GRAPHQL_QUERY, GRAPHQL_COST_MAX, 2},
        {"{a(first:1000000){b(first:1000000){c(first:1000000){d}}}}", NULL, NULL, GRAPHQL_QUERY,
         GRAPHQL_COST_MAX, 4},
        {"query($n:Int){a(first:$n){b}}", NULL, "{\"n\":7}", GRAPHQL_QUERY, 8, 2},
        {"query($n:Int=5){a(first:$n){b}}", NULL, NULL, GRAPHQL_QUERY, 6, 2},
        {"query($m:[Int!]!=[1],$n:Int=5){a(first:$n){b}}", NULL, "{}", GRAPHQL_QUERY, 6, 2},
        {"query($n:Int=5){a(first:$n){b}}", NULL, "{\"n\":2}", GRAPHQL_QUERY, 3, 2},
        {"query($n:Int){a(first:$n){b}}", NULL, "{\"n\":\"x\"}", GRAPHQL_QUERY, 2, 2},
        {"query($n:Int,$m:Int=9){a(first:$n){b}}", NULL, NULL, GRAPHQL_QUERY, 2, 2},
        {"{...F} fragment F on T{a b}", NULL, NULL, GRAPHQL_QUERY, 2, 1},
        {"fragment F on T{a b} {...F ...F}", NULL, NULL, GRAPHQL_QUERY, 4, 1},
        {"{a(first:3){...F}} fragment F on T{b{...G}} fragment G on U{c}", NULL, NULL,
         GRAPHQL_QUERY, 7, 3},
        {"{... on T{a} ... @include(if:false){b} ...{c}}", NULL, NULL, GRAPHQL_QUERY, 3, 1},
        {"query A{a} query B{b c}", "B", NULL, GRAPHQL_QUERY, 2, 1},
        {"{a @skip(if:true) b(x:\"}\",y:\"\"\"{ \\\"\"\" \"\"\"){c}}", NULL, NULL, GRAPHQL_QUERY, 3,
         2},
        {"\xef\xbb\xbf# {comment}\r\n{a # }\n}", NULL, NULL, GRAPHQL_QUERY, 1, 1},
        {"query Q($v:V={a:[1,2.5,\"x\",E,null,true]}@d){on:on(x:$v)}", NULL, NULL, GRAPHQL_QUERY, 1,
         1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct graphql_weight weight;
        struct err err = {{0}};
        AUTO_JSON json_t *variables =
            cases[i].variables ? json_loads(cases[i].variables, 0, NULL) : NULL;
        if (graphql_weigh(cases[i].text, strlen(cases[i].text), cases[i].name, variables, &weight,
                          &err))
            fail_msg("%s: %s", cases[i].text, err.msg);
        if (weight.cost != cases[i].cost || weight.depth != cases[i].depth ||
            weight.kind != cases[i].kind)
            fail_msg("%s: cost %lld depth %u kind %d", cases[i].text, (long long)weight.cost,
                     weight.depth, (int)weight.kind);
    }
}

static void what_is_not_a_document_is_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "{",
        "}",
        "{}",
        "{a",
        "{a}}",
        "{a{}}",
        "{a()}",
        "{a(b)}",
        "{a(b:)}",
        "{a(b:$)}",
        "query",
        "query(){a}",
        "query($a){a}",
        "query($a:[Int){a}",
        "type T{a:Int}",
        "schema{query:Q}",
        "{...F}",
        "{...F} fragment F on T{...F}",
        "{...F} fragment F on T{...G} fragment G on T{...F}",
        "{...F} fragment F on T{a} fragment F on T{b}",
        "fragment F on T{a}",
        "fragment on on T{a}",
        "{a} {b}",
        "query A{a} query A{b}",
        "{a(b:01)}",
        "{a(b:1x)}",
        "{a(b:1.)}",
        "{a(b:\"x)}",
        "{a(b:\"x\n\")}",
        "{a(b:\"\"\"x\"\")}",
        "{a \x80}",
        "{a ; b}",
        "{a ..F}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct graphql_weight weight;
        struct err err = {{0}};
        if (!graphql_weigh(cases[i], strlen(cases[i]), NULL, NULL, &weight, &err))
            fail_msg("accepted: %s", cases[i]);
        assert_int_not_equal(strlen(err.msg), 0);
    }
}

/* Each fragment spreads the next one twice: 2^200 fields, in 201 looks. */
static void fragment_bombs_weigh_much_and_cost_nothing(void **state)
{
    AUTO_BUF struct buf text = {0};
    struct graphql_weight weight;
    struct err err;
    (void)state;
    buf_puts(&text, "{...F0}");
    for (unsigned i = 0; i < 100; i++)
        buf_printf(&text, "fragment F%u on T{...F%u ...F%u}", i, i + 1, i + 1);
    buf_puts(&text, "fragment F100 on T{a}");
    assert_int_equal(graphql_weigh(text.data, text.len, NULL, NULL, &weight, &err), 0);
    assert_int_equal(weight.cost, GRAPHQL_COST_MAX);
}

static void nesting_is_bounded(void **state)
{
    AUTO_BUF struct buf text = {0};
    struct graphql_weight weight;
    struct err err;
    (void)state;
    for (unsigned i = 0; i < 10000; i++)
        buf_puts(&text, "{a");
    assert_int_equal(graphql_weigh(text.data, text.len, NULL, NULL, &weight, &err), -1);
    text.len = 0;
    buf_puts(&text, "{a(b:");
    for (unsigned i = 0; i < 10000; i++)
        buf_puts(&text, "[");
    assert_int_equal(graphql_weigh(text.data, text.len, NULL, NULL, &weight, &err), -1);
}

static void requests_are_weighed(void **state)
{
    static const struct {
        const char *json;
        int64_t cost; /* -1: refused */
    } cases[] = {
        {"{\"query\":\"{a b}\"}", 2},
        {"{\"query\":\"{a}\",\"variables\":null,\"operationName\":null,\"extensions\":{}}", 1},
        {"{\"query\":\"query A{a} query B{b c}\",\"operationName\":\"B\"}", 2},
        {"[{\"query\":\"{a}\"},{\"query\":\"{b c}\"}]", 3},
        {"[]", -1},
        {"{}", -1},
        {"{\"extensions\":{\"persistedQuery\":{\"sha256Hash\":\"00\"}}}", -1},
        {"{\"query\":1}", -1},
        {"{\"query\":\"{a}\",\"variables\":[]}", -1},
        {"{\"query\":\"{a}\",\"operationName\":\"B\"}", -1},
        {"[[{\"query\":\"{a}\"}]]", -1},
        {"\"{a}\"", -1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct graphql_weight weight = {.cost = -1};
        struct err err;
        AUTO_JSON json_t *request = json_loads(cases[i].json, JSON_DECODE_ANY, NULL);
        assert_non_null(request);
        int result = graphql_weigh_request(request, &weight, &err);
        if (result ? cases[i].cost != -1 : weight.cost != cases[i].cost)
            fail_msg("%s: %lld", cases[i].json, (long long)weight.cost);
    }
}

static void query_strings_are_weighed(void **state)
{
    static const struct {
        const char *query;
        int64_t cost; /* -1: refused */
    } cases[] = {
        {"query={a}", 1},
        {"query=%7Ba+b%7D&x=1", 2},
        {"x&query={a(first:$n){b}}&variables={%22n%22:3}", 4},
        {"query=query($n:Int){a(first:$n){b}}&variables={\"n\":3}", 4},
        {"", -1},
        {"query=", -1},
        {"query=%7", -1},
        {"query={a}&query={b}", -1},
        {"query={a}&variables={", -1},
        {"query=mutation{a}", -1},
        {"query=%ff", -1},
        {"extensions={}", -1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct graphql_weight weight = {.cost = -1};
        struct err err;
        int result = graphql_weigh_query(cases[i].query, strlen(cases[i].query), &weight, &err);
        if (result ? cases[i].cost != -1 : weight.cost != cases[i].cost)
            fail_msg("%s: %lld", cases[i].query, (long long)weight.cost);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_weighed),
        cmocka_unit_test(what_is_not_a_document_is_refused),
        cmocka_unit_test(fragment_bombs_weigh_much_and_cost_nothing),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(requests_are_weighed),
        cmocka_unit_test(query_strings_are_weighed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
