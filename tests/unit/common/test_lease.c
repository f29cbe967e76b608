/* Leases on the wire. */
#include "vectors.h"

#include "libcommon/proto/lease.h"

#define ID      "sub_00112233445566778899aabbccddeeff"
#define JOURNAL "000102030405060708090a0b0c0d0e0f"
#define REQUEST                                                                                    \
    "{\"journals\":[\"" JOURNAL "\"],\"round\":7,\"last\":9000,\"ask\":[{\"sub\":\"" ID            \
    "\",\"requests\":100,\"bytes\":0,\"messages\":0,\"cost\":0}]}"
#define REPLY                                                                                      \
    "{\"applied\":{\"" JOURNAL "\":45},\"grants\":[{\"sub\":\"" ID                                 \
    "\",\"lease\":9001,\"period\":1790000000,\"day\":\"2026-11-21\",\"ttl_ms\":60000,"             \
    "\"requests\":50,\"bytes\":-1,\"messages\":-1,\"cost\":-1}],\"refused\":[{\"sub\":\"" ID       \
    "\",\"reason\":\"quota-exceeded\",\"kind\":\"cost\",\"retry_after\":3600},{\"sub\":\"" ID      \
    "\",\"reason\":\"payment-required\",\"retry_after\":0}]}"

static char *changed(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    assert_non_null(at);
    return mem_printf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

static void request_bytes(void **state)
{
    (void)state;
    char journals[1][LEASE_JOURNAL_LEN + 1] = {JOURNAL};
    struct lease_ask asks[] = {{ID, {100, 0, 0, 0}}};
    struct lease_request request = {journals, 1, 7, 9000, asks, 1}, back;
    struct err err;
    AUTO_FREE char *text = lease_request_encode(&request);
    assert_string_equal(text, REQUEST);
    assert_int_equal(lease_request_decode(text, strlen(text), &back, &err), 0);
    assert_int_equal(back.journal_count, 1);
    assert_string_equal(back.journals[0], JOURNAL);
    assert_int_equal(back.ask_count, 1);
    assert_int_equal(back.asks[0].want[SUB_REQUESTS], 100);
    assert_same_text(lease_request_encode(&back), text);
    lease_request_clear(&back);
    assert_null(back.asks);
    lease_request_clear(&back);
}

static void request_refusals(void **state)
{
    (void)state;

    static const struct {
        const char *from, *to, *error;
    } cases[] = {
        {"[\"" JOURNAL "\"]", "[]", "journals: must have 1 to 64 items"},
        {JOURNAL, "000102030405060708090A0B0C0D0E0F", "journals: [0]: must be 32 lower-case"},
        {JOURNAL, "0001", "journals: [0]: must be 32 to 32 bytes"},
        {"\"journals\"", "\"journal\"", "journals: missing"},
        {"\"round\":7", "\"round\":0", "round: must be 1 to"},
        {"\"last\":9000,", "", "last: missing"},
        {"\"requests\":100", "\"requests\":-1", "ask: [0]: requests: must be 0 to"},
        {"\"requests\":100,", "", "ask: [0]: requests: missing"},
        {"\"cost\":0", "\"cost\":0,\"more\":1", "ask: [0]: more: unknown member"},
        {"\"cost\":0", "\"cost\":true", "ask: [0]: cost: must be an integer"},
        {"[{", "[[],{", "ask: [0]: must be an object"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *text = changed(REQUEST, cases[i].from, cases[i].to);
        struct lease_request request;
        struct err err;
        assert_int_equal(lease_request_decode(text, strlen(text), &request, &err), -1);
        assert_contains(err.msg, cases[i].error);
        assert_null(request.asks);
        assert_null(request.journals);
    }
}

static void reply_bytes(void **state)
{
    (void)state;
    struct lease_applied applied[] = {{JOURNAL, 45}};
    struct lease_grant grants[] = {{ID, 9001, 1790000000, "2026-11-21", 60000, {50, -1, -1, -1}}};
    struct lease_refused refused[] = {{ID, LEASE_QUOTA_EXCEEDED, SUB_COST, 3600},
                                      {ID, LEASE_PAYMENT_REQUIRED, SUB_REQUESTS, 0}};
    struct lease_reply reply = {applied, 1, grants, 1, refused, 2}, back;
    struct err err;
    AUTO_FREE char *text = lease_reply_encode(&reply);
    assert_string_equal(text, REPLY);
    assert_int_equal(lease_reply_decode(text, strlen(text), &back, &err), 0);
    assert_int_equal(back.applied_count, 1);
    assert_string_equal(back.applied[0].journal, JOURNAL);
    assert_int_equal(back.applied[0].seq, 45);
    assert_int_equal(back.grants[0].amount[SUB_BYTES], LEASE_UNLIMITED);
    assert_int_equal(back.refused_count, 2);
    assert_int_equal(back.refused[0].kind, SUB_COST);
    assert_same_text(lease_reply_encode(&back), text);
    lease_reply_clear(&back);
}

static void reply_refusals(void **state)
{
    (void)state;

    static const struct {
        const char *from, *to, *error;
    } cases[] = {
        {JOURNAL, "short", "applied: a name in it: must be 32 to 32 bytes"},
        {":45", ":-1", "applied: " JOURNAL ": must be 0 to"},
        {":45", ":[]", "applied: " JOURNAL ": must be an integer"},
        {"{\"" JOURNAL "\":45}", "[]", "applied: must be an object"},
        {"\"lease\":9001", "\"lease\":0", "grants: [0]: lease: must be 1 to"},
        {"2026-11-21", "2026-13-21", "grants: [0]: day: must be a day"},
        {"2026-11-21", "2026-11-2x", "grants: [0]: day: must be a day"},
        {"\"bytes\":-1", "\"bytes\":-2", "grants: [0]: bytes: must be -1 to"},
        {"quota-exceeded", "other", "refused: [0]: reason: is none of"},
        {"\"kind\":\"cost\",", "", "refused: [0]: kind: missing"},
        {"payment-required\"", "payment-required\",\"kind\":\"cost\"",
         "refused: [1]: has members that do not belong together"},
        {"\"ttl_ms\":60000", "\"ttl_ms\":86400001", "ttl_ms: must be 0 to 86400000"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *text = changed(REPLY, cases[i].from, cases[i].to);
        struct lease_reply reply;
        struct err err;
        assert_int_equal(lease_reply_decode(text, strlen(text), &reply, &err), -1);
        assert_contains(err.msg, cases[i].error);
        assert_null(reply.grants);
    }
    static const char error[] =
        "{\"error\":{\"code\":\"bad-request\",\"message\":\"ask: missing\"}}";
    struct lease_reply reply;
    struct err err;
    assert_int_equal(lease_reply_decode(error, strlen(error), &reply, &err), -1);
    assert_string_equal(err.msg, "bad-request: ask: missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_bytes),
        cmocka_unit_test(request_refusals),
        cmocka_unit_test(reply_bytes),
        cmocka_unit_test(reply_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
