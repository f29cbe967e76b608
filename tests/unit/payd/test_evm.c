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

#define CONTRACT  "0x00000000000000000000000000000000000000c0"
#define TOKEN     "0x00000000000000000000000000000000000000aa"
#define WORD(end) "0x00000000000000000000000000000000000000000000000000000000000000" end

static json_t *word_json(struct word word)
{
    char text[67];
    word_hex(&word, text);
    return json_string(text);
}

/* A log of `address` with the kind's own topic, the other topics and data as JSON text. */
static json_t *made(const char *address, enum evm_kind kind, const char *topics, const char *data)
{
    json_t *log = json_pack("{s:s, s:o, s:s, s:s, s:s, s:s, s:s}", "address", address, "topics",
                            json_loads(topics, 0, NULL), "data", data, "blockNumber", "0x10",
                            "logIndex", "0x3", "blockHash", H1, "transactionHash", H2);
    assert_non_null(log);
    json_array_insert_new(json_object_get(log, "topics"), 0, word_json(evm_topic(kind)));
    return log;
}

static const struct made_case {
    const char *address;
    enum evm_kind kind;
    const char *topics, *data;
    bool good;
} made_cases[] = {
    {CONTRACT, EVM_REFUNDED, "[\"" WORD("11") "\",\"" H2 "\",\"" WORD("aa") "\"]",
     WORD("07") "0000000000000000000000000000000000000000000000000000000000000005", true},
    {CONTRACT, EVM_REFUNDED, "[\"" WORD("11") "\",\"" H2 "\"]",
     WORD("07") "0000000000000000000000000000000000000000000000000000000000000005", false},
    {CONTRACT, EVM_REFUNDED, "[\"" H1 "\",\"" H2 "\",\"" WORD("aa") "\"]",
     WORD("07") "0000000000000000000000000000000000000000000000000000000000000005", false},
    {CONTRACT, EVM_REFUNDED, "[\"" WORD("11") "\",\"" H2 "\",\"" WORD("aa") "\"]",
     H1 "0000000000000000000000000000000000000000000000000000000000000005", false},
    {CONTRACT, EVM_REFUNDED, "[\"" WORD("11") "\",\"" H2 "\",\"" WORD("aa") "\"]", WORD("07"),
     false},
    {CONTRACT, EVM_TRANSFER_REFUNDED, "[\"" H1 "\",\"" WORD("aa") "\",\"" WORD("11") "\"]",
     WORD("05"), true},
    {CONTRACT, EVM_TRANSFER_REFUNDED, "[\"" H1 "\",\"" H1 "\",\"" WORD("11") "\"]", WORD("05"),
     false},
    {CONTRACT, EVM_TRANSFER_REFUNDED, "[\"" H1 "\",\"" WORD("aa") "\"]", WORD("05"), false},
    {CONTRACT, EVM_TOPPED_UP, "[\"" WORD("aa") "\",\"" WORD("11") "\"]", WORD("05"), true},
    {CONTRACT, EVM_TOPPED_UP, "[\"" H1 "\",\"" WORD("11") "\"]", WORD("05"), false},
    {CONTRACT, EVM_TOPPED_UP, "[\"" WORD("aa") "\",\"" H1 "\"]", WORD("05"), false},
    {CONTRACT, EVM_TOPPED_UP, "[\"" WORD("aa") "\",\"" WORD("11") "\"]", "0x", false},
    {CONTRACT, EVM_SIGNER_CHANGED, "[\"" WORD("11") "\",\"" WORD("00") "\"]", WORD("00"), true},
    {CONTRACT, EVM_SIGNER_CHANGED, "[\"" H1 "\",\"" WORD("00") "\"]", WORD("00"), false},
    {CONTRACT, EVM_SIGNER_CHANGED, "[\"" WORD("11") "\",\"" WORD("00") "\"]", "0x", false},
    {TOKEN, EVM_SIGNER_CHANGED, "[\"" WORD("11") "\",\"" WORD("00") "\"]", WORD("00"), false},
    {CONTRACT, EVM_TRANSFER, "[\"" WORD("11") "\",\"" WORD("c0") "\"]", WORD("05"), false},
};

static void own_events_are_read(void **state)
{
    (void)state;
    uint8_t contract[20] = {0};
    contract[19] = 0xc0;
    for (size_t i = 0; i < ARRAY_LEN(made_cases); i++) {
        const struct made_case *c = &made_cases[i];
        AUTO_EVM_EVENTS struct evm_events events = {0};
        struct err err;
        AUTO_JSON json_t *logs = json_pack("[o]", made(c->address, c->kind, c->topics, c->data));
        if ((evm_events_parse(logs, contract, 10, &events, &err) == 0) != c->good)
            fail_msg("case %zu: good is %d", i, c->good);
        if (!c->good)
            continue;
        const struct evm_event *event = &events.items[0];
        assert_int_equal(event->kind, c->kind);
        if (c->kind == EVM_REFUNDED)
            assert_true(event->seq == 7 && event->subscriber[19] == 0x11 &&
                        event->token[19] == 0xaa && event->amount.b[31] == 5);
        if (c->kind == EVM_TRANSFER_REFUNDED)
            assert_true(event->transfer_id.b[0] == 0x11 && event->token[19] == 0xaa &&
                        event->account[19] == 0x11 && event->amount.b[31] == 5);
        if (c->kind == EVM_TOPPED_UP)
            assert_true(event->token[19] == 0xaa && event->account[19] == 0x11 &&
                        event->amount.b[31] == 5);
        if (c->kind == EVM_SIGNER_CHANGED)
            assert_int_equal(event->account[19], 0x11);
    }
}

/* Only what was asked for: a listed token, its Transfer, to our contract. */
static void transfers_are_read(void **state)
{
    (void)state;
    static const uint8_t tokens[2][20] = {{[19] = 0xbb}, {[19] = 0xaa}};
    static const uint8_t contract[20] = {[19] = 0xc0};

    static const struct {
        const char *address;
        enum evm_kind kind;
        const char *topics, *data;
        bool good;
    } cases[] = {
        {TOKEN, EVM_TRANSFER, "[\"" WORD("11") "\",\"" WORD("c0") "\"]", WORD("05"), true},
        {TOKEN, EVM_TRANSFER, "[\"" WORD("11") "\",\"" WORD("c1") "\"]", WORD("05"), false},
        {TOKEN, EVM_TRANSFER, "[\"" WORD("11") "\",\"" H1 "\"]", WORD("05"), false},
        {TOKEN, EVM_TRANSFER, "[\"" H1 "\",\"" WORD("c0") "\"]", WORD("05"), false},
        {TOKEN, EVM_TRANSFER, "[\"" WORD("11") "\"]", WORD("05"), false},
        {TOKEN, EVM_TRANSFER, "[]", WORD("05"), false},
        {TOKEN, EVM_TRANSFER, "[\"" WORD("11") "\",\"" WORD("c0") "\",\"" WORD("05") "\"]", "0x",
         false},
        {TOKEN, EVM_TRANSFER, "[\"" WORD("11") "\",\"" WORD("c0") "\"]", "0x", false},
        {TOKEN, EVM_PAID, "[\"" WORD("11") "\",\"" WORD("c0") "\"]", WORD("05"), false},
        {CONTRACT, EVM_TRANSFER, "[\"" WORD("11") "\",\"" WORD("c0") "\"]", WORD("05"), false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_EVM_EVENTS struct evm_events events = {0};
        struct err err;
        AUTO_JSON json_t *logs =
            json_pack("[o]", made(cases[i].address, cases[i].kind, cases[i].topics, cases[i].data));
        if ((evm_transfers_parse(logs, contract, tokens, 2, 10, &events, &err) == 0) !=
            cases[i].good)
            fail_msg("case %zu: good is %d", i, cases[i].good);
        if (cases[i].good)
            assert_true(events.items[0].kind == EVM_TRANSFER &&
                        events.items[0].account[19] == 0x11 && events.items[0].token[19] == 0xaa &&
                        events.items[0].amount.b[31] == 5);
    }
}

static void answers_of_two_questions_are_one_sequence(void **state)
{
    (void)state;
    struct err err;
    AUTO_EVM_EVENTS struct evm_events all = {mem_array(2, sizeof(struct evm_event)), 2};
    AUTO_EVM_EVENTS struct evm_events more = {mem_array(2, sizeof(struct evm_event)), 2};
    all.items[0] = (struct evm_event){.block = 7, .log_index = 1};
    all.items[1] = (struct evm_event){.block = 7, .log_index = 5};
    more.items[0] = (struct evm_event){.block = 7, .log_index = 2};
    more.items[1] = (struct evm_event){.block = 6, .log_index = 9};
    evm_events_append(&all, &more);
    assert_int_equal(evm_events_order(&all, &err), 0);
    static const int64_t want[][2] = {{6, 9}, {7, 1}, {7, 2}, {7, 5}};
    for (size_t i = 0; i < 4; i++)
        assert_true(all.items[i].block == want[i][0] && all.items[i].log_index == want[i][1]);
    all.items[3].log_index = 2;
    assert_int_equal(evm_events_order(&all, &err), -1);
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
        {"{\"number\":\"0x20000000000000\",\"timestamp\":\"0x1\",\"hash\":\"" H1
         "\",\"parentHash\":\"" H2 "\"}",
         true},
        /* What is added to it, or taken from it, would overflow. */
        {"{\"number\":\"0x20000000000001\",\"timestamp\":\"0x1\",\"hash\":\"" H1
         "\",\"parentHash\":\"" H2 "\"}",
         false},
        {"{\"number\":\"0x7fffffffffffffff\",\"timestamp\":\"0x1\",\"hash\":\"" H1
         "\",\"parentHash\":\"" H2 "\"}",
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
        cmocka_unit_test(own_events_are_read),
        cmocka_unit_test(transfers_are_read),
        cmocka_unit_test(answers_of_two_questions_are_one_sequence),
        cmocka_unit_test(blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
