/* The hash of a row: fixed, and different for any two rows that differ in anything. */
#include "services/adminsvc/audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ZERO "0000000000000000000000000000000000000000000000000000000000000000"

static struct audit_entry entry(void)
{
    return (struct audit_entry){1795000000123, "key_1", "owner", "127.0.0.1", "req",
                                "key.create",  "key_2", 201,     "",          "{\"a\":1}"};
}

/* Computed with sha256sum over the text that docs/openapi/admin.yaml describes. */
static void known_value(void **state)
{
    struct audit_entry row = entry();
    char hash[AUDIT_HASH + 1];
    (void)state;
    audit_hash(ZERO, 1, &row, hash);
    assert_string_equal(hash, "8d6bd97bfb65c961e0a9d6105de36e202449d844a90159b276af6ae83d5ddc46");
}

static void everything_counts(void **state)
{
    struct audit_entry rows[12];
    char base[AUDIT_HASH + 1], other[AUDIT_HASH + 1];
    struct audit_entry row = entry();
    (void)state;
    audit_hash(ZERO, 1, &row, base);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        rows[i] = row;
    rows[0].at_ms++;
    rows[1].actor = "key_3";
    rows[2].role = "viewer";
    rows[3].client = "127.0.0.2";
    rows[4].request_id = "other";
    rows[5].action = "key.delete";
    rows[6].target = "";
    rows[7].status = 0;
    rows[8].problem = "x";
    rows[9].detail = "{\"a\":2}";
    /* The same bytes, divided otherwise. */
    rows[10].actor = "key_1o";
    rows[10].role = "wner";
    rows[11].action = "key.createkey_2";
    rows[11].target = "";
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        audit_hash(ZERO, 1, &rows[i], other);
        assert_string_not_equal(base, other);
    }
    audit_hash(ZERO, 2, &row, other);
    assert_string_not_equal(base, other);
    audit_hash(base, 1, &row, other);
    assert_string_not_equal(base, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_value),
        cmocka_unit_test(everything_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
