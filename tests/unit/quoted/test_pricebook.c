/* What a price book may say, and what is refused, with the place it stands at. */
#include "services/quoted/pricebook.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct pricebook_chain chain = {
    .domain = {4441, {1}},
    .tokens = {[1] = {0xaa, 1}, [2] = {0xbb, 2}},
};

#define TOKENS "tokens: { ODD: { decimals: 6, index: 1 }, ALT: { decimals: 18, index: 2 } }\n"
#define REST                                                                                       \
    "services: { api: it }\n"                                                                      \
    "durations: [30, { days: 60, discount: 10% }]\n"
#define HEAD TOKENS REST
#define GOOD                                                                                       \
    HEAD "tiers:\n"                                                                                \
         "  small:\n"                                                                              \
         "    limits: { rate: 10 }\n"                                                              \
         "    prices:\n"                                                                           \
         "      ODD: \"3.00\"\n"

static int parse(const char *text, struct pricebook **out, struct err *err)
{
    return pricebook_parse("book.yaml", text, strlen(text), &chain, out, err);
}

static void good(void **state)
{
    struct pricebook *book = NULL;
    struct err err = {""};
    (void)state;
    if (parse(GOOD, &book, &err) != 0)
        fail_msg("%s", err.msg);
    const struct pricebook_tier *tier = pricebook_tier(book, "small");
    const struct pricebook_service *service = pricebook_service(book, "api");
    const struct pricebook_token *token = pricebook_token(book, "ODD");
    assert_non_null(tier);
    assert_int_equal(tier->period_s, 30 * 86400);
    assert_int_equal(tier->limits.burst, 10);
    assert_int_equal(token->address[0], 0xaa);
    assert_ptr_equal(pricebook_token(book, "0xaa01000000000000000000000000000000000000"), token);
    assert_int_equal(pricebook_amount(book, tier, service, token, pricebook_duration(book, 30)),
                     3000000);
    assert_int_equal(pricebook_amount(book, tier, service, token, pricebook_duration(book, 60)),
                     5400000);
    assert_int_equal(pricebook_amount(book, tier, service, pricebook_token(book, "ALT"),
                                      pricebook_duration(book, 60)),
                     0);
    assert_null(pricebook_tier(book, "large"));
    assert_null(pricebook_service(book, "other"));
    assert_null(pricebook_token(book, "odd"));
    assert_null(pricebook_duration(book, 31));
    assert_int_equal(strlen(book->version), 64);
    assert_non_null(strstr(book->pricing, book->version));
    pricebook_unref(&book);
}

/* The same price in tokens whose smallest units differ by eighteen orders of magnitude. */
static void decimals(void **state)
{
    static const char text[] =
        "tokens:\n"
        "  WHOLE: { decimals: 0, index: 1 }\n"
        "  SIX: { decimals: 6, index: 2 }\n"
        "  EIGHT: { decimals: 8, index: 3,"
        " address: \"0x1100000000000000000000000000000000000000\" }\n"
        "  WIDE: { decimals: 18, index: 4,"
        " address: \"0x2200000000000000000000000000000000000000\" }\n"
        "services: { api: it }\n"
        "durations: [30, 15, { days: 60, discount: 10% }, { days: 90, discount: 15% }]\n"
        "tiers: { s: { prices: { WHOLE: 20, SIX: \"0.40\", EIGHT: \"0.00000200\","
        " WIDE: \"1.5\" } } }\n";

    static const struct {
        const char *token;
        uint64_t amounts[4]; /* by duration */
    } rows[] = {
        {"WHOLE", {20, 10, 36, 51}},
        {"SIX", {400000, 200000, 720000, 1020000}},
        {"EIGHT", {200, 100, 360, 510}},
        {"WIDE",
         {1500000000000000000, 750000000000000000, 2700000000000000000, 3825000000000000000}},
    };

    static const int64_t days[] = {30, 15, 60, 90};
    struct pricebook *book = NULL;
    struct err err = {""};
    (void)state;
    if (parse(text, &book, &err) != 0)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t j = 0; j < 4; j++)
            assert_true(pricebook_amount(book, book->tiers, book->services,
                                         pricebook_token(book, rows[i].token),
                                         pricebook_duration(book, days[j])) == rows[i].amounts[j]);
    assert_non_null(strstr(book->pricing, "\"3825000000000000000\""));
    pricebook_unref(&book);
}

static void versions(void **state)
{
    struct pricebook *a = NULL, *b = NULL, *c = NULL;
    struct err err;
    (void)state;
    assert_int_equal(parse(GOOD, &a, &err), 0);
    assert_int_equal(parse("# the same\n" GOOD, &b, &err), 0);
    assert_int_equal(parse(GOOD "      ALT: 3\n", &c, &err), 0);
    assert_string_equal(a->version, b->version);
    assert_string_equal(a->pricing, b->pricing);
    assert_string_not_equal(a->version, c->version);
    pricebook_unref(&a);
    pricebook_unref(&b);
    pricebook_unref(&c);
}

static void services_and_days(void **state)
{
    struct pricebook *book = NULL;
    struct err err = {""};
    (void)state;
    if (parse(TOKENS
              "services:\n"
              "  api: it\n"
              "  feed: { title: news, protocols: [sse, http] }\n"
              "  chat: { protocols: websocket }\n"
              "  graph: { protocols: [graphql, websocket, sse, http] }\n"
              "durations: [30]\n"
              "tiers:\n"
              "  small: { limits: { requests: 100, requests_per_day: 100 }, prices: { ODD: 3 } }\n"
              "  hour: { period: 1h, limits: { requests: 100, requests_per_day: 900 },"
              " prices: { ODD: 3 } }\n",
              &book, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(pricebook_tier(book, "small")->limits.requests_per_day, 100);
    assert_int_equal(pricebook_tier(book, "hour")->limits.requests_per_day, 900);
    assert_non_null(strstr(book->pricing, "\"requests_per_day\":900"));
    assert_non_null(strstr(book->pricing, "\"protocols\":[\"http\"]"));
    assert_non_null(strstr(book->pricing, "\"protocols\":[\"http\",\"sse\"]"));
    assert_non_null(strstr(book->pricing, "\"protocols\":[\"websocket\"]"));
    assert_non_null(
        strstr(book->pricing, "\"protocols\":[\"http\",\"websocket\",\"sse\",\"graphql\"]"));
    assert_null(strstr(book->pricing, "news"));
    pricebook_unref(&book);
}

#define TIER(body)  HEAD "tiers:\n  small: " body "\n"
#define PRICE(text) TIER("{ prices: { ODD: " text " } }")

static const struct {
    const char *text;
    const char *error;
} refused[] = {
    {"", "tokens: is missing"},
    {"[]", "book.yaml:1"},
    {HEAD, "tiers: is missing"},
    {HEAD "tiers: {}\n", "tiers: has 0 entries"},
    {GOOD "other: 1\n", "book.yaml:9: other: there is no such key"},
    {PRICE("\"3.0000001\""), "book.yaml:5: tiers.small.prices.ODD: must be digits"},
    {PRICE("\"-3\""), "tiers.small.prices.ODD: must be digits"},
    {PRICE("3e6"), "tiers.small.prices.ODD: must be digits"},
    {PRICE("\" 3\""), "tiers.small.prices.ODD: must be digits"},
    {PRICE("\"\""), "tiers.small.prices.ODD: must be digits"},
    {PRICE("three"), "tiers.small.prices.ODD: must be digits"},
    {PRICE("\"18446744073709.551616\""), "tiers.small.prices.ODD: must be digits"},
    {PRICE("\"18446744073709.551610\""), "the price of 60 days"},
    {PRICE("\"3.000001\""), "no whole number"},
    {PRICE("\"0\""), "must be more than 0"},
    {PRICE("\"0.00\""), "must be more than 0"},
    {TIER("{ prices: { XYZ: 1 } }"), "tiers.small.prices.XYZ: there is no token of this symbol"},
    {TIER("{ prices: {} }"), "prices: has 0 entries"},
    {TIER("{ limits: { rate: 1 } }"), "prices: is missing"},
    {TIER("{ limits: { rate: 65536 }, prices: { ODD: 3 } }"), "limits.rate"},
    {TIER("{ limits: { rate: -1 }, prices: { ODD: 3 } }"), "limits.rate"},
    {TIER("{ limits: { burst: 5 }, prices: { ODD: 3 } }"), "burst: means nothing without rate"},
    {TIER("{ limits: { bandwidth: 65536 }, prices: { ODD: 3 } }"), "limits.bandwidth"},
    {TIER("{ limits: { requests: 9007199254740993 }, prices: { ODD: 3 } }"), "limits.requests"},
    {TIER("{ limits: { requests_per_day: -1 }, prices: { ODD: 3 } }"), "limits.requests_per_day"},
    {TIER("{ limits: { requests_per_day: 9007199254740993 }, prices: { ODD: 3 } }"),
     "limits.requests_per_day"},
    {TIER("{ limits: { requests: 10, requests_per_day: 11 }, prices: { ODD: 3 } }"),
     "limits.requests_per_day: more than requests"},
    {TOKENS "services: { api: { protocols: [http, grpc] } }\ndurations: [30]\n"
            "tiers: { s: { prices: { ODD: 3 } } }\n",
     "protocols: are http, websocket, sse and graphql"},
    {TOKENS "services: { api: { protocols: [sse, sse] } }\ndurations: [30]\n"
            "tiers: { s: { prices: { ODD: 3 } } }\n",
     "protocols: sse stands twice"},
    {TIER("{ limits: { bytes: 1GB }, prices: { ODD: 3 } }"), "limits.bytes"},
    {TIER("{ period: 1500ms, prices: { ODD: 3 } }"), "period"},
    {TIER("{ period: 60500ms, prices: { ODD: 3 } }"), "whole seconds"},
    {TIER("{ period: 367d, prices: { ODD: 3 } }"), "period"},
    {TIER("{ prices: { ODD: 3 }, services: { web: { prices: { ODD: 3 } } } }"),
     "book.yaml:5: tiers.small.services.web: there is no service of this name"},
    {TIER("{ prices: { ODD: 3 }, services: { api: { prices: { ODD: 0.0000003 } } } }"),
     "tiers.small.services.api.prices.ODD: must be digits"},
    {HEAD "tiers:\n  Small: { prices: { ODD: 3 } }\n", "a tier's name"},
    {HEAD "tiers:\n  _x: { prices: { ODD: 3 } }\n", "a tier's name"},
    {HEAD "tiers:\n  small: { prices: { ODD: 3 } }\n  small: { prices: { ODD: 4 } }\n", "twice"},
    {"tokens: { ODD: { decimals: 6, index: 3 } }\n" REST "tiers: { s: { prices: { ODD: 3 } } }\n",
     "book.yaml:1: tokens.ODD.address: missing"},
    {"tokens: { ODD: { decimals: 6, index: 0 } }\n" REST "tiers: { s: { prices: { ODD: 3 } } }\n",
     "tokens.ODD.index"},
    {"tokens: { ODD: { decimals: 19, index: 1 } }\n" REST "tiers: { s: { prices: { ODD: 3 } } }\n",
     "tokens.ODD.decimals"},
    {"tokens: { \"O D\": { decimals: 6, index: 1 } }\n" REST
     "tiers: { s: { prices: { ODD: 3 } } }\n",
     "a token's symbol"},
    {"tokens: { 0xab: { decimals: 6, index: 1 } }\n" REST "tiers: { s: { prices: { ODD: 3 } } }\n",
     "a token's symbol"},
    {"tokens: { A: { decimals: 6, index: 1 }, B: { decimals: 6, index: 1 } }\n" REST
     "tiers: { s: { prices: { A: 3 } } }\n",
     "tokens.B: has the index or the address of A"},
    {"tokens: { A: { decimals: 6, index: 1, address: \"0x12\" } }\n" REST
     "tiers: { s: { prices: { A: 3 } } }\n",
     "tokens.A.address"},
    {"tokens: { A: { decimals: 6, index: 5, address: "
     "\"0x0000000000000000000000000000000000000000\" } }\n" REST
     "tiers: { s: { prices: { A: 3 } } }\n",
     "zero address"},
    {"tokens: { A: { decimals: 6, index: 1, address: "
     "\"0x1100000000000000000000000000000000000000\" } }\n" REST
     "tiers: { s: { prices: { A: 3 } } }\n",
     "the deployment file has another token"},
    {TOKENS "services: { API: x }\ndurations: [30]\ntiers: { s: { prices: { ODD: 3 } } }\n",
     "a service's name"},
    {TOKENS "services: { api: x }\ndurations: []\ntiers: { s: { prices: { ODD: 3 } } }\n",
     "durations: has 0 entries"},
    {TOKENS "services: { api: x }\ndurations: [0]\ntiers: { s: { prices: { ODD: 3 } } }\n",
     "durations[0]"},
    {TOKENS "services: { api: x }\ndurations: [3661]\ntiers: { s: { prices: { ODD: 3 } } }\n",
     "durations[0]"},
    {TOKENS "services: { api: x }\ndurations: [30, 30]\ntiers: { s: { prices: { ODD: 3 } } }\n",
     "30 days stand twice"},
    {TOKENS "services: { api: x }\ndurations: [{ days: 30, discount: 100% }]\n"
            "tiers: { s: { prices: { ODD: 3 } } }\n",
     "discount"},
};

static void bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct pricebook *book = NULL;
        struct err err = {""};
        if (parse(refused[i].text, &book, &err) == 0)
            fail_msg("accepted:\n%s", refused[i].text);
        if (strstr(err.msg, refused[i].error) == NULL)
            fail_msg("\"%s\" is not in \"%s\"", refused[i].error, err.msg);
        if (strncmp(err.msg, "book.yaml:", 10) != 0)
            fail_msg("no place in \"%s\"", err.msg);
    }
}

/* tier x service x token x duration is bounded, whatever each of them may be. */
static void combinations(void **state)
{
    static char text[200000];
    struct pricebook *book = NULL;
    struct err err = {""};
    size_t at = (size_t)sprintf(text, TOKENS "durations: [");
    (void)state;
    for (int i = 1; i <= 20; i++)
        at += (size_t)sprintf(text + at, "%d, ", 30 * i);
    at += (size_t)sprintf(text + at, "]\nservices:\n");
    for (int i = 0; i < 200; i++)
        at += (size_t)sprintf(text + at, "  s%d: x\n", i);
    at += (size_t)sprintf(text + at, "tiers:\n");
    for (int i = 0; i < 200; i++)
        at += (size_t)sprintf(text + at, "  t%d: { prices: { ODD: 3 } }\n", i);
    assert_int_equal(parse(text, &book, &err), -1);
    assert_non_null(strstr(err.msg, "combinations"));
}

static void shipped(void **state)
{
    struct pricebook *book = NULL;
    struct err err = {""};
    (void)state;
    if (pricebook_load(SOURCE_DIR "/config/pricebook.yaml", &chain, &book, &err) != 0)
        fail_msg("%s", err.msg);
    pricebook_unref(&book);
    assert_int_equal(pricebook_load("/nonexistent/book.yaml", &chain, &book, &err), -1);
    assert_int_equal(pricebook_load("/", &chain, &book, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),     cmocka_unit_test(decimals),
        cmocka_unit_test(versions), cmocka_unit_test(services_and_days),
        cmocka_unit_test(bad),      cmocka_unit_test(combinations),
        cmocka_unit_test(shipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
