/* subd's messages: exact bytes, and refusal of everything else with the member's name. */
#include "vectors.h"

#include "libcommon/proto/sub.h"

#define ID "sub_00112233445566778899aabbccddeeff"
#define RECORD                                                                                     \
    "{\"id\":\"" ID "\",\"version\":7,\"state\":\"active\",\"service\":\"api\","                   \
    "\"subscriber\":\"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\",\"tier\":\"pro\",\"plan\":3,"   \
    "\"start\":1790000000,\"expiry\":1792592000,\"period_start\":1790000000,"                      \
    "\"period_end\":1792592000,\"limits\":{\"rate\":50,\"burst\":100,\"requests\":100000,"         \
    "\"bytes\":0,\"messages\":0,\"cost\":0}}"
#define UNKNOWN "{\"id\":\"" ID "\",\"version\":0,\"state\":\"unknown\"}"

static const struct sub_record example = {
    .id = ID,
    .version = 7,
    .state = SUB_ACTIVE,
    .service = "api",
    .subscriber = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    .tier = "pro",
    .plan = 3,
    .start = 1790000000,
    .expiry = 1792592000,
    .period_start = 1790000000,
    .period_end = 1792592000,
    .limits = {.rate = 50, .burst = 100, .quota = {100000, 0, 0, 0}},
};

static void names_round_trip(void **state)
{
    (void)state;
    for (enum sub_state s = SUB_UNKNOWN; s <= SUB_REVOKED; s++) {
        enum sub_state back;
        assert_int_equal(sub_state_parse(sub_state_name(s), &back), 0);
        assert_int_equal(back, s);
    }
    enum sub_state any;
    assert_int_equal(sub_state_parse("Active", &any), -1);
    assert_int_equal(sub_state_parse("", &any), -1);
}

static void ids_are_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "sub_",
                                      "sub_00112233445566778899AABBCCDDEEFF",
                                      "SUB_00112233445566778899aabbccddeeff",
                                      "sub_00112233445566778899aabbccddeef",
                                      "sub_00112233445566778899aabbccddeeff0",
                                      "sub_00112233445566778899aabbccddeefg"};
    assert_true(sub_id_valid(ID, strlen(ID)));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(sub_id_valid(bad[i], strlen(bad[i])));
}

static void record_bytes(void **state)
{
    (void)state;
    struct sub_record back, unknown = {.id = ID}, unknown_back;
    struct err err;
    AUTO_JSON json_t *json = sub_record_encode(&example);
    AUTO_FREE char *text = json_text(json);
    assert_string_equal(text, RECORD);
    assert_int_equal(sub_record_decode(json, &back, &err), 0);
    AUTO_JSON json_t *again = sub_record_encode(&back);
    assert_true(json_equal(again, json));
    AUTO_JSON json_t *little = sub_record_encode(&unknown);
    AUTO_FREE char *little_text = json_text(little);
    assert_string_equal(little_text, UNKNOWN);
    assert_int_equal(sub_record_decode(little, &unknown_back, &err), 0);
    assert_int_equal(unknown_back.state, SUB_UNKNOWN);
    assert_string_equal(unknown_back.id, ID);
}

/* A limit of the day is told only where there is one: who does not know it reads the rest. */
static void requests_per_day(void **state)
{
    (void)state;
    struct sub_record record = example, back;
    struct err err;
    record.limits.requests_per_day = 700;
    AUTO_JSON json_t *json = sub_record_encode(&record);
    AUTO_FREE char *text = json_text(json);
    assert_non_null(strstr(text, "\"cost\":0,\"requests_per_day\":700}"));
    assert_int_equal(sub_record_decode(json, &back, &err), 0);
    assert_int_equal(back.limits.requests_per_day, 700);
    AUTO_JSON json_t *without = sub_record_encode(&example);
    assert_int_equal(sub_record_decode(without, &back, &err), 0);
    assert_int_equal(back.limits.requests_per_day, 0);
    json_object_set_new(json_object_get(without, "limits"), "requests_per_day", json_integer(0));
    assert_int_equal(sub_record_decode(without, &back, &err), -1);

    static const struct {
        int64_t period, day;
        enum sub_kind kind;
        bool limited;
    } table[] = {
        {0, 0, SUB_REQUESTS, false}, {5, 0, SUB_REQUESTS, true}, {0, 5, SUB_REQUESTS, true},
        {0, 5, SUB_BYTES, false},    {5, 5, SUB_REQUESTS, true},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct sub_limits limits = {.requests_per_day = table[i].day};
        limits.quota[SUB_REQUESTS] = table[i].period;
        assert_int_equal(sub_limited(&limits, table[i].kind), table[i].limited);
    }
}

/* Replaces the first `from` of RECORD. */
static char *changed(const char *from, const char *to)
{
    const char *at = strstr(RECORD, from);
    assert_non_null(at);
    return mem_printf("%.*s%s%s", (int)(at - RECORD), RECORD, to, at + strlen(from));
}

static void record_refusals(void **state)
{
    (void)state;

    static const struct {
        const char *from, *to, *error;
    } cases[] = {
        {"\"version\":7,", "", "version: missing"},
        {"\"version\":7", "\"version\":7.0", "version: must be an integer"},
        {"\"version\":7", "\"version\":\"7\"", "version: must be an integer"},
        {"\"version\":7", "\"version\":-1", "version: must be 0 to"},
        {"\"version\":7", "\"version\":0", "version: must be 0 where"},
        {"active", "unknown", "do not belong together"},
        {"active", "alive", "state: is none of"},
        {"\"api\"", "\"\"", "service: must be 1 to 63 bytes"},
        {"\"api\"", "\"a\\npi\"", "service: must not hold control characters"},
        {"\"api\"", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
         "service: must be 1 to 63 bytes"},
        {"0xf39F", "0xF39F", "subscriber: must be an address"},
        {ID, "sub_x", "id: must be 36 to 36 bytes"},
        {ID, "sub_00112233445566778899aabbccddeefg", "id: must be sub_"},
        {"\"plan\":3", "\"plan\":65536", "plan: must be 0 to 65535"},
        {"\"rate\":50", "\"rate\":-1", "limits: rate: must be 0 to"},
        {"\"rate\":50,", "", "limits: rate: missing"},
        {"\"rate\":50", "\"rate\":50,\"evil\":1", "limits: evil: unknown member"},
        {"\"plan\":3", "\"plan\":3,\"evil\":1", "evil: unknown member"},
        {"\"plan\":3", "\"plan\":null", "plan: must be an integer"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *text = changed(cases[i].from, cases[i].to);
        AUTO_JSON json_t *json = NULL;
        struct sub_record record;
        struct err err;
        assert_int_equal(json_parse(text, strlen(text), &json, &err), 0);
        assert_int_equal(sub_record_decode(json, &record, &err), -1);
        assert_contains(err.msg, cases[i].error);
    }
}

static void check_request(void **state)
{
    (void)state;
    const char *ids[] = {ID, "sub_ffeeddccbbaa99887766554433221100"};
    char out[2][SUB_ID_LEN + 1];
    size_t count;
    struct err err;
    AUTO_FREE char *text = sub_check_encode(ids, 2);
    assert_string_equal(text, "{\"subscriptions\":[\"" ID
                              "\",\"sub_ffeeddccbbaa99887766554433221100\"]}");
    assert_int_equal(sub_check_decode(text, strlen(text), out, 2, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_string_equal(out[1], ids[1]);
    assert_int_equal(sub_check_decode(text, strlen(text), out, 1, &count, &err), -1);
    assert_contains(err.msg, "subscriptions: must have at most 1");

    static const struct {
        const char *text, *error;
    } bad[] = {
        {"{}", "subscriptions: missing"},
        {"[]", "must be an object"},
        {"{\"subscriptions\":{}}", "subscriptions: must be an array"},
        {"{\"subscriptions\":[\"" ID "\",5]}", "subscriptions: [1]: must be a string"},
        {"{\"subscriptions\":[],\"x\":1}", "x: unknown member"},
        {"{", "not JSON"},
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(sub_check_decode(bad[i].text, strlen(bad[i].text), out, 2, &count, &err),
                         -1);
        assert_contains(err.msg, bad[i].error);
    }
}

static void check_has_a_bound(void **state)
{
    (void)state;
    const char *ids[SUB_BATCH_MAX + 1];
    char(*out)[SUB_ID_LEN + 1] = mem_array(SUB_BATCH_MAX + 1, SUB_ID_LEN + 1);
    size_t count;
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        ids[i] = ID;
    AUTO_FREE char *most = sub_check_encode(ids, SUB_BATCH_MAX);
    AUTO_FREE char *over = sub_check_encode(ids, SUB_BATCH_MAX + 1);
    assert_int_equal(sub_check_decode(most, strlen(most), out, SUB_BATCH_MAX + 1, &count, &err), 0);
    assert_int_equal(sub_check_decode(over, strlen(over), out, SUB_BATCH_MAX + 1, &count, &err),
                     -1);
    assert_contains(err.msg, "subscriptions: must have 0 to 256 items");
    free(out);
}

static void check_reply(void **state)
{
    (void)state;
    const struct sub_record records[] = {example, {.id = ID}};
    struct sub_record *back;
    size_t count;
    int64_t head;
    struct err err;
    AUTO_FREE char *text = sub_check_reply_encode(12, records, 2);
    assert_string_equal(text, "{\"head\":12,\"subscriptions\":[" RECORD "," UNKNOWN "]}");
    assert_int_equal(sub_check_reply_decode(text, strlen(text), &head, &back, &count, &err), 0);
    assert_int_equal(head, 12);
    assert_int_equal(count, 2);
    assert_same_text(sub_check_reply_encode(head, back, count), text);
    free(back);
    AUTO_FREE char *empty = sub_check_reply_encode(0, NULL, 0);
    assert_int_equal(sub_check_reply_decode(empty, strlen(empty), &head, &back, &count, &err), 0);
    assert_int_equal(count, 0);
    static const char error[] =
        "{\"error\":{\"code\":\"unavailable\",\"message\":\"no database\"}}";
    assert_int_equal(sub_check_reply_decode(error, strlen(error), &head, &back, &count, &err), -1);
    assert_string_equal(err.msg, "unavailable: no database");
    assert_null(back);
    static const char version[] =
        "{\"head\":1,\"subscriptions\":[{\"id\":\"" ID "\",\"version\":1,\"state\":\"unknown\"}]}";
    assert_int_equal(sub_check_reply_decode(version, strlen(version), &head, &back, &count, &err),
                     -1);
    assert_null(back);
}

static void changes_and_heartbeats(void **state)
{
    (void)state;
    struct sub_record back;
    struct sub_heartbeat beat = {"subd-1", true, true, false, 13, 1790000000123}, beat_back;
    int64_t head;
    struct err err;
    AUTO_FREE char *text = sub_changed_encode(13, &example);
    assert_string_equal(text, "{\"head\":13,\"record\":" RECORD "}");
    assert_int_equal(sub_changed_decode(text, strlen(text), &head, &back, &err), 0);
    assert_int_equal(head, 13);
    assert_same_text(sub_changed_encode(head, &back), text);
    AUTO_FREE char *zero = sub_changed_encode(0, &example);
    assert_int_equal(sub_changed_decode(zero, strlen(zero), &head, &back, &err), -1);

    AUTO_FREE char *line = sub_heartbeat_encode(&beat);
    assert_string_equal(line, "{\"instance\":\"subd-1\",\"healthy\":true,\"postgres\":true,"
                              "\"redis\":false,\"head\":13,\"at_ms\":1790000000123}");
    assert_int_equal(sub_heartbeat_decode(line, strlen(line), &beat_back, &err), 0);
    assert_same_text(sub_heartbeat_encode(&beat_back), line);
    assert_int_equal(sub_heartbeat_decode("{}", 2, &beat_back, &err), -1);
    assert_string_equal(err.msg, "instance: missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_round_trip),       cmocka_unit_test(ids_are_strict),
        cmocka_unit_test(record_bytes),           cmocka_unit_test(requests_per_day),
        cmocka_unit_test(record_refusals),        cmocka_unit_test(check_request),
        cmocka_unit_test(check_has_a_bound),      cmocka_unit_test(check_reply),
        cmocka_unit_test(changes_and_heartbeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
