/* Every state against every event. */
#include "services/subd/state.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define STAYS (-1)

/* [state][event] -> the state entered */
static const int table[][4] = {
    [SUB_UNKNOWN] = {STAYS, STAYS, STAYS, STAYS},
    [SUB_PENDING] = {SUB_ACTIVE, SUB_SUSPENDED, SUB_EXPIRED, SUB_REVOKED},
    [SUB_ACTIVE] = {SUB_ACTIVE, SUB_SUSPENDED, SUB_EXPIRED, SUB_REVOKED},
    [SUB_SUSPENDED] = {SUB_ACTIVE, STAYS, SUB_EXPIRED, SUB_REVOKED},
    [SUB_EXPIRED] = {SUB_ACTIVE, STAYS, STAYS, STAYS},
    [SUB_REVOKED] = {STAYS, STAYS, STAYS, STAYS},
};

static void every_transition(void **unused)
{
    (void)unused;
    for (int from = SUB_UNKNOWN; from <= SUB_REVOKED; from++) {
        for (int event = STATE_PAID; event <= STATE_REVOKED; event++) {
            enum sub_state to = SUB_UNKNOWN;
            int rc = state_transition((enum sub_state)from, (enum state_event)event, &to);
            assert_int_equal(rc, table[from][event] == STAYS ? -1 : 0);
            if (rc == 0)
                assert_int_equal(to, table[from][event]);
        }
    }
}

static void events_have_names(void **unused)
{
    (void)unused;
    for (int event = STATE_PAID; event <= STATE_REVOKED; event++)
        assert_true(state_event_name((enum state_event)event)[0] != '\0');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_transition),
        cmocka_unit_test(events_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
