/* Usage batches on the wire: the same bytes for the same batch, whatever it holds. */
#include "vectors.h"

#include "libcommon/bus.h"
#include "libcommon/proto/usage.h"

#include <stdio.h>

#define ID      "sub_00112233445566778899aabbccddeeff"
#define JOURNAL "000102030405060708090a0b0c0d0e0f"
#define BATCH                                                                                      \
    "{\"v\":1,\"journal\":\"" JOURNAL "\",\"seq\":45,\"final\":false,\"entries\":[{\"sub\":\"" ID  \
    "\",\"lease\":9001,\"period\":1790000000,\"day\":\"2026-11-21\",\"requests\":-2,"              \
    "\"bytes_in\":1200,\"bytes_out\":90000,\"messages\":1,\"events\":2,\"cost\":3,"                \
    "\"closed\":true}]}"

static const struct usage_entry entry = {ID, 9001, 1790000000, "2026-11-21", -2, 1200, 90000,
                                         1,  2,    3,          true};

static void bytes(void **state)
{
    (void)state;
    struct usage_entry entries[] = {entry};
    struct usage_batch batch = {JOURNAL, 45, false, entries, 1}, back;
    struct err err;
    AUTO_FREE char *text = usage_batch_encode(&batch);
    assert_string_equal(text, BATCH);
    assert_int_equal(usage_batch_decode(text, strlen(text), &back, &err), 0);
    assert_int_equal(back.entries[0].requests, -2);
    assert_true(back.entries[0].closed);
    assert_same_text(usage_batch_encode(&back), text);
    usage_batch_clear(&back);
    assert_null(back.entries);
}

static void refusals(void **state)
{
    (void)state;

    static const struct {
        const char *from, *to, *error;
    } cases[] = {
        {"\"v\":1", "\"v\":2", "v: must be 1 to 1"},
        {"\"v\":1,", "", "v: missing"},
        {"\"seq\":45", "\"seq\":0", "seq: must be 1 to"},
        {"\"final\":false", "\"final\":0", "final: must be true or false"},
        {"\"bytes_in\":1200", "\"bytes_in\":-1", "entries: [0]: bytes_in: must be 0 to"},
        {"\"bytes_in\":1200", "\"bytes_in\":1125899906842625", "bytes_in: must be 0 to"},
        {"\"requests\":-2", "\"requests\":-1125899906842625", "requests: must be -"},
        {"\"closed\":true", "\"closed\":true,\"extra\":1", "extra: unknown member"},
        {"\"lease\":9001", "\"lease\":1.5", "lease: must be an integer"},
        {"2026-11-21", "2026-11-00", "day: must be a day"},
        {"\"seq\":45", "\"seq\":45,\"seq\":46", "not JSON"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *at = strstr(BATCH, cases[i].from);
        assert_non_null(at);
        AUTO_FREE char *text = mem_printf("%.*s%s%s", (int)(at - BATCH), BATCH, cases[i].to,
                                          at + strlen(cases[i].from));
        struct usage_batch batch;
        struct err err;
        assert_int_equal(usage_batch_decode(text, strlen(text), &batch, &err), -1);
        assert_contains(err.msg, cases[i].error);
        assert_null(batch.entries);
    }
}

static void the_largest_batch_fits_a_message(void **state)
{
    (void)state;
    struct usage_entry *entries = mem_array(USAGE_ENTRIES_MAX + 1, sizeof(*entries));
    for (size_t i = 0; i <= USAGE_ENTRIES_MAX; i++) {
        entries[i] = entry;
        entries[i].lease = INT64_MAX;
        entries[i].period = 253402300799;
        entries[i].requests = -(1LL << 50);
        entries[i].bytes_in = entries[i].bytes_out = entries[i].messages = 1LL << 50;
        entries[i].events = entries[i].cost = 1LL << 50;
        entries[i].closed = false;
    }
    struct usage_batch batch = {JOURNAL, INT64_MAX, false, entries, USAGE_ENTRIES_MAX}, back;
    struct err err;
    AUTO_FREE char *most = usage_batch_encode(&batch);
    assert_true(strlen(most) <= BUS_MAX_PAYLOAD);
    assert_int_equal(usage_batch_decode(most, strlen(most), &back, &err), 0);
    assert_same_text(usage_batch_encode(&back), most);
    usage_batch_clear(&back);
    batch.count++;
    AUTO_FREE char *over = usage_batch_encode(&batch);
    assert_int_equal(usage_batch_decode(over, strlen(over), &back, &err), -1);
    assert_contains(err.msg, "entries: must have 0 to 2000 items");
    free(entries);
}

static void an_empty_final_batch_is_one(void **state)
{
    (void)state;
    struct usage_batch batch = {JOURNAL, 46, true, NULL, 0}, back;
    struct err err;
    AUTO_FREE char *text = usage_batch_encode(&batch);
    assert_int_equal(usage_batch_decode(text, strlen(text), &back, &err), 0);
    assert_true(back.final);
    assert_int_equal(back.count, 0);
    usage_batch_clear(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes),
        cmocka_unit_test(refusals),
        cmocka_unit_test(the_largest_batch_fits_a_message),
        cmocka_unit_test(an_empty_final_batch_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
