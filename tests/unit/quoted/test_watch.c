/* Who may wait for payd, and who is refused at once. */
#include "services/quoted/watch.h"

#include "libcommon/mem.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void tells(void **state)
{
    struct watch *watch = watch_new(8, &clock_system);
    struct watch_view view;
    unsigned place;
    (void)state;
    watch_read(watch, &view);
    assert_int_equal(view.state, WATCH_UNKNOWN);
    assert_int_equal(watch_enter(watch, &place), WATCH_ENTERED); /* nothing is known: it may try */
    assert_true(watch_tell(watch, WATCH_AWAY, "no answer"));
    assert_false(watch_tell(watch, WATCH_AWAY, "still none"));
    watch_leave(watch, place);
    assert_int_equal(watch_enter(watch, &place), WATCH_REFUSED);
    watch_read(watch, &view);
    assert_string_equal(view.detail, "still none");
    assert_true(view.heard_ms > 0);
    assert_true(watch_tell(watch, WATCH_SIGNER, "another key"));
    assert_int_equal(watch_enter(watch, &place), WATCH_REFUSED);
    assert_true(watch_tell(watch, WATCH_OPEN, ""));
    assert_int_equal(watch_enter(watch, &place), WATCH_ENTERED);
    watch_leave(watch, place);
    watch_free(&watch);
}

/* However many threads there are, one at least may ask, and where there are several one at least
 * is left for those who need no chain. */
static void places(void **state)
{
    static const struct {
        unsigned threads, places;
    } rows[] = {{1, 1}, {2, 1}, {3, 2}, {4, 3}, {8, 6}, {64, 48}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct watch *watch = watch_new(rows[i].threads, &clock_system);
        unsigned place[64];
        for (unsigned j = 0; j < rows[i].places; j++) {
            assert_int_equal(watch_enter(watch, &place[j]), WATCH_ENTERED);
            assert_int_equal(place[j], j);
        }
        unsigned none;
        assert_int_equal(watch_enter(watch, &none), WATCH_BUSY);
        watch_leave(watch, place[0]);
        assert_int_equal(watch_enter(watch, &none), WATCH_ENTERED);
        assert_int_equal(none, 0);
        for (unsigned j = 0; j < rows[i].places; j++)
            watch_leave(watch, place[j]);
        watch_free(&watch);
    }
}

static void *enter(void *arg)
{
    unsigned place;
    enum watch_entry *entry = mem_alloc(sizeof(*entry));
    *entry = watch_enter(arg, &place);
    return entry;
}

/* Who waits for a place hears at once that there is nothing to wait for. */
static void woken(void **state)
{
    struct watch *watch = watch_new(2, &clock_system);
    pthread_t thread;
    unsigned place;
    void *result;
    (void)state;
    assert_int_equal(watch_enter(watch, &place), WATCH_ENTERED);
    assert_int_equal(pthread_create(&thread, NULL, enter, watch), 0);
    watch_tell(watch, WATCH_AWAY, "away");
    pthread_join(thread, &result);
    assert_int_equal(*(enum watch_entry *)result, WATCH_REFUSED);
    free(result);
    watch_leave(watch, place);
    watch_free(&watch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells),
        cmocka_unit_test(places),
        cmocka_unit_test(woken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
