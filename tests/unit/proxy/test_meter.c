/* What an exchange leaves in its cell, whatever way it takes. */
#include "libcommon/mem.h"
#include "services/proxy/journal_cell.h"
#include "services/proxy/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* m: mark, u: unmark, i and o: 10 bytes in or out. */
static void walk(struct request *request, const char *steps)
{
    for (; *steps; steps++) {
        switch (*steps) {
        case 'm':
            meter_mark(request);
            break;
        case 'u':
            meter_unmark(request);
            break;
        case 'i':
            assert_int_equal(room_meter.on_data(request, ROOM_INBOUND, "0123456789", 10), 0);
            break;
        case 'o':
            assert_int_equal(room_meter.on_data(request, ROOM_OUTBOUND, "0123456789", 10), 0);
            break;
        }
    }
}

static void test_ways(void **state)
{
    static const struct {
        const char *steps;
        uint64_t requests, undone, in, out;
    } cases[] = {
        {"", 0, 0, 0, 0},      {"mo", 1, 0, 0, 10},    {"imioo", 1, 0, 20, 20}, {"mmm", 1, 0, 0, 0},
        {"mumo", 2, 1, 0, 10}, {"mu", 1, 1, 0, 0},     {"muu", 1, 1, 0, 0},     {"u", 0, 0, 0, 0},
        {"ii", 0, 0, 0, 0},    {"iimo", 1, 0, 20, 10}, {"imumi", 2, 1, 20, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct journal_cell cell;
        struct request request;
        memset(&cell, 0, sizeof(cell));
        memset(&request, 0, sizeof(request));
        request.meter.cell = &cell;
        walk(&request, cases[i].steps);
        if (cell.counters[JOURNAL_REQUESTS] != cases[i].requests ||
            cell.counters[JOURNAL_UNDONE] != cases[i].undone ||
            cell.counters[JOURNAL_BYTES_IN] != cases[i].in ||
            cell.counters[JOURNAL_BYTES_OUT] != cases[i].out)
            fail_msg("%s", cases[i].steps);
    }
}

/* Public routes have no cell. */
static void test_free_of_charge(void **state)
{
    struct request request;
    (void)state;
    memset(&request, 0, sizeof(request));
    walk(&request, "imiou");
    assert_false(request.meter.marked);
}

static void test_cell(void **state)
{
    struct journal_identity in = {.lease = INT64_MAX, .period = 1790000000, .day = "2026-01-09"};
    struct journal_identity out;
    struct journal_cell cell;
    (void)state;
    memset(&cell, 0, sizeof(cell));
    strcpy(in.sub, "sub_00ff102030405060708090a0b0c0d0e0");
    assert_false(journal_cell_valid(&cell));
    journal_cell_write(&cell, &in);
    assert_true(journal_cell_valid(&cell) && journal_cell_sound(&cell));
    journal_key_text(&cell.key, &out);
    assert_string_equal(out.sub, in.sub);
    assert_string_equal(out.day, in.day);
    assert_true(out.lease == in.lease && out.period == in.period);
    uint32_t generation = cell.key.generation;
    journal_cell_add(&cell, JOURNAL_COST, 7);
    journal_cell_clear(&cell);
    assert_false(journal_cell_valid(&cell));
    assert_int_equal(cell.counters[JOURNAL_COST], 0);
    journal_cell_write(&cell, &in);
    assert_int_equal(cell.key.generation, generation + 1);
    cell.key.period ^= 1;
    assert_false(journal_cell_sound(&cell));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ways),
        cmocka_unit_test(test_free_of_charge),
        cmocka_unit_test(test_cell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
