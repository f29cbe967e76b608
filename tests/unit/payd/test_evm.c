/* Blocks and events as nodes send them: the vectors that viem encoded, and what must be refused. */
#include "services/payd/evm.h"

#include "libcommon/eth/hex.h"
#include "libcommon/proto/quote.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define H1 "0x1111111111111111111111111111111111111111111111111111111111111111"
#define H2 "0x2222222222222222222222222222222222222222222222222222222222222222"

static json_t *vectors(void)
{
    json_error_t error;
    json_t *json = json_load_file(SOURCE_DIR "/contracts/test-vectors/quote.json", 0, &error);
    assert_non_null(json);
    return json;
}

static json_t *log_of(const json_t *quote, const char *which)
{
    const json_t *log = json_object_get(quote, which);
    return json_pack("{s:O, s:O, s:O, s:s, s:s, s:s, s:s, s:b}", "address",
                     json_object_get(quote, "contract"), "topics", json_object_get(log, "topics"),
                     "data", json_object_get(log, "data"), "blockNumber", "0x10", "logIndex", "0x3",
                     "blockHash", H1, "transactionHash", H2, "removed", 0);
}

static void contract_of(const json_t *quote, uint8_t out[20])
{
    struct err err;
    assert_int_equal(hex_address(json_string_value(json_object_get(quote, "contract")), out, &err),
                     0);
}

static void events_give_the_quotes_digest(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors();
    size_t i;
    json_t *quote;
    json_array_foreach(json_object_get(all, "quotes"), i, quote)
    {
        AUTO_EVM_EVENTS struct evm_events events = {0};
        struct err err;
        struct quote_domain domain = {
            .chain_id = (uint64_t)json_integer_value(json_object_get(quote, "chain_id"))};
        contract_of(quote, domain.contract);
        AUTO_JSON json_t *logs = json_pack("[o]", log_of(quote, "paid_log"));
        assert_int_equal(evm_events_parse(logs, domain.contract, 10, &events, &err), 0);
        assert_int_equal(events.count, 1);
        struct evm_event *event = &events.items[0];
        assert_int_equal(event->kind, EVM_PAID);
        assert_int_equal(event->block, 16);
        assert_int_equal(event->log_index, 3);
        struct quote back = {.service_id = event->service_id, .terms = event->terms};
        memcpy(back.subscriber, event->subscriber, 20);
        memcpy(back.token, event->token, 20);
        struct word digest = quote_digest(&domain, &back);
        char text[80];
        word_hex(&digest, text);
        assert_string_equal(text, json_string_value(json_object_get(quote, "digest")));
        word_decimal(&event->amount, text);
        assert_string_equal(
            text, json_string_value(json_object_get(json_object_get(quote, "paid_log"), "amount")));
    }
}

static void revocations_are_read(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors();
    const json_t *quote = json_array_get(json_object_get(all, "quotes"), 0);
    AUTO_EVM_EVENTS struct evm_events events = {0};
    struct err err;
    uint8_t contract[20];
    contract_of(quote, contract);
    AUTO_JSON json_t *logs = json_pack("[o]", log_of(quote, "revoked_log"));
    assert_int_equal(evm_events_parse(logs, contract, 10, &events, &err), 0);
    assert_int_equal(events.items[0].kind, EVM_REVOKED);
    assert_int_equal(events.items[0].seq, 1);
    assert_true(events.items[0].revoked);
}

/* Each replaces one member of a good log. */
static void hostile_logs_are_refused(void **state)
{
    (void)state;

    static const struct {
        const char *member;
        const char *value; /* JSON; NULL removes it */
    } cases[] = {
        {"address", "\"0x0000000000000000000000000000000000000001\""},
        {"address", "7"},
        {"address", NULL},
        {"topics", "[]"},
        {"topics", "[\"" H1 "\"]"},
        {"topics", "[\"" H1 "\",\"" H1 "\",\"" H1 "\",\"" H1 "\"]"},
        {"topics", "[\"" H1 "\",\"" H1 "\",\"" H1 "\",\"" H1 "\",\"" H1 "\"]"},
        {"topics", "{}"},
        {"data", "\"0x\""},
        {"data", "\"0x00\""},
        {"data", "\"" H1 "\""},
        {"data", "null"},
        {"blockNumber", "\"0x\""},
        {"blockNumber", "\"0x01\""},
        {"blockNumber", "\"16\""},
        {"blockNumber", "16"},
        {"blockNumber", "\"0xffffffffffffffff\""},
        {"blockNumber", "\"0x11111111111111111\""},
        {"logIndex", "\"0x80000000\""},
        {"blockHash", "\"0x11\""},
        {"blockHash", "null"},
        {"transactionHash", "\"" H1 "1\""},
    };

    AUTO_JSON json_t *all = vectors();
    const json_t *quote = json_array_get(json_object_get(all, "quotes"), 0);
    uint8_t contract[20];
    contract_of(quote, contract);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_EVM_EVENTS struct evm_events events = {0};
        struct err err;
        json_t *log = log_of(quote, "paid_log");
        AUTO_JSON json_t *logs = json_pack("[o]", log);
        json_object_del(log, cases[i].member);
        if (cases[i].value != NULL)
            json_object_set_new(log, cases[i].member,
                                json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        if (evm_events_parse(logs, contract, 10, &events, &err) == 0)
            fail_msg("case %zu (%s) was taken", i, cases[i].member);
    }
}

static void order_and_number_of_logs(void **state)
{
    (void)state;
    AUTO_JSON json_t *all = vectors();
    const json_t *quote = json_array_get(json_object_get(all, "quotes"), 0);
    AUTO_EVM_EVENTS struct evm_events events = {0};
    struct err err;
    uint8_t contract[20];
    contract_of(quote, contract);
    json_t *first = log_of(quote, "paid_log"), *second = log_of(quote, "revoked_log");
    AUTO_JSON json_t *logs = json_pack("[o, o]", first, second);
    assert_int_equal(evm_events_parse(logs, contract, 10, &events, &err), -1);
    json_object_set_new(second, "logIndex", json_string("0x2"));
    assert_int_equal(evm_events_parse(logs, contract, 1, &events, &err), -1);
    assert_int_equal(evm_events_parse(logs, contract, 2, &events, &err), 0);
    assert_int_equal(events.items[0].kind, EVM_REVOKED);
    assert_int_equal(events.items[1].kind, EVM_PAID);
}

static void blocks(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"{\"number\":\"0x0\",\"timestamp\":\"0x1\",\"hash\":\"" H1 "\",\"parentHash\":\"" H2 "\"}",
         true},
        {"{\"number\":\"0x0\",\"timestamp\":\"0x1\",\"hash\":null,\"parentHash\":\"" H2 "\"}",
         false},
        {"{\"number\":null,\"timestamp\":\"0x1\",\"hash\":\"" H1 "\",\"parentHash\":\"" H2 "\"}",
         false},
        {"{\"timestamp\":\"0x1\",\"hash\":\"" H1 "\",\"parentHash\":\"" H2 "\"}", false},
        {"{\"number\":\"-0x1\",\"timestamp\":\"0x1\",\"hash\":\"" H1 "\",\"parentHash\":\"" H2
         "\"}",
         false},
        {"[]", false},
        {"\"latest\"", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct evm_block block;
        struct err err;
        AUTO_JSON json_t *json = json_loads(cases[i].text, JSON_DECODE_ANY, NULL);
        assert_int_equal(evm_block_parse(json, &block, &err) == 0, cases[i].good);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_give_the_quotes_digest),
        cmocka_unit_test(revocations_are_read),
        cmocka_unit_test(hostile_logs_are_refused),
        cmocka_unit_test(order_and_number_of_logs),
        cmocka_unit_test(blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
