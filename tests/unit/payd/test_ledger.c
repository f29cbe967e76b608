/* The payment's state machine, the rule of confirmation and the objections, as tables. */
#include "services/payd/ledger.h"

#include "libcommon/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define NOWHERE (-1)

/* [state][cause] -> the state entered */
static const int table[LEDGER_STATES][LEDGER_CAUSES] = {
    [LEDGER_SEEN] = {NOWHERE, LEDGER_CONFIRMING, LEDGER_CONFIRMED, NOWHERE, LEDGER_ORPHANED,
                     LEDGER_REJECTED, NOWHERE, LEDGER_REFUNDED, NOWHERE},
    [LEDGER_CONFIRMING] = {NOWHERE, NOWHERE, LEDGER_CONFIRMED, NOWHERE, LEDGER_ORPHANED,
                           LEDGER_REJECTED, NOWHERE, LEDGER_REFUNDED, NOWHERE},
    [LEDGER_CONFIRMED] = {NOWHERE, NOWHERE, NOWHERE, LEDGER_ACTIVATED, LEDGER_ORPHANED, NOWHERE,
                          NOWHERE, LEDGER_REFUNDED, NOWHERE},
    [LEDGER_ACTIVATED] = {NOWHERE, NOWHERE, NOWHERE, NOWHERE, LEDGER_ORPHANED, NOWHERE, NOWHERE,
                          LEDGER_REFUNDED, NOWHERE},
    [LEDGER_ORPHANED] = {LEDGER_SEEN, NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE,
                         NOWHERE},
    [LEDGER_REJECTED] = {NOWHERE, NOWHERE, NOWHERE, NOWHERE, LEDGER_ORPHANED, NOWHERE,
                         LEDGER_CONFIRMING, LEDGER_REFUNDED, NOWHERE},
    [LEDGER_REFUNDED] = {NOWHERE, NOWHERE, NOWHERE, NOWHERE, LEDGER_ORPHANED, NOWHERE, NOWHERE,
                         NOWHERE, LEDGER_CONFIRMED},
};

static void every_transition(void **state)
{
    (void)state;
    for (int from = 0; from < LEDGER_STATES; from++) {
        for (int cause = 0; cause < LEDGER_CAUSES; cause++) {
            struct ledger_move move;
            int rc = ledger_transition((enum ledger_state)from, (enum ledger_cause)cause,
                                       LEDGER_ACTIVATED, &move);
            if (table[from][cause] == NOWHERE) {
                assert_int_equal(rc, -1);
            } else {
                assert_int_equal(rc, 0);
                assert_int_equal(move.to, table[from][cause]);
                assert_int_equal(move.from, from);
            }
        }
    }
}

/* subd is told exactly when a payment begins or ceases to count, and of every refund and its end.
 */
static void hints_follow_what_counts(void **state)
{
    (void)state;
    for (int from = 0; from < LEDGER_STATES; from++) {
        for (int cause = 0; cause < LEDGER_CAUSES; cause++) {
            struct ledger_move move;
            if (ledger_transition((enum ledger_state)from, (enum ledger_cause)cause,
                                  LEDGER_ACTIVATED, &move) != 0)
                continue;
            bool counted = from == LEDGER_CONFIRMED || from == LEDGER_ACTIVATED;
            bool counts = move.to == LEDGER_CONFIRMED || move.to == LEDGER_ACTIVATED;
            bool refund = from == LEDGER_REFUNDED || move.to == LEDGER_REFUNDED;
            enum ledger_hint want = counted == counts && !refund ? LEDGER_HINT_NONE
                                    : counts                     ? LEDGER_HINT_CONFIRMED
                                                                 : LEDGER_HINT_REVERSED;
            assert_int_equal(move.hint, want);
        }
    }
}

/* Where a refund's block leaves the chain, the payment is again what it was before. */
static void an_undone_refund_gives_back(void **state)
{
    (void)state;

    static const struct {
        int to;
        enum ledger_hint hint;
    } want[LEDGER_STATES] = {
        [LEDGER_SEEN] = {LEDGER_SEEN, LEDGER_HINT_REVERSED},
        [LEDGER_CONFIRMING] = {LEDGER_CONFIRMING, LEDGER_HINT_REVERSED},
        [LEDGER_CONFIRMED] = {LEDGER_CONFIRMED, LEDGER_HINT_CONFIRMED},
        [LEDGER_ACTIVATED] = {LEDGER_CONFIRMED, LEDGER_HINT_CONFIRMED},
        [LEDGER_ORPHANED] = {NOWHERE, LEDGER_HINT_NONE},
        [LEDGER_REJECTED] = {LEDGER_REJECTED, LEDGER_HINT_REVERSED},
        [LEDGER_REFUNDED] = {NOWHERE, LEDGER_HINT_NONE},
    };

    for (int before = 0; before < LEDGER_STATES; before++) {
        struct ledger_move move;
        int rc =
            ledger_transition(LEDGER_REFUNDED, LEDGER_UNREPAID, (enum ledger_state)before, &move);
        assert_int_equal(rc, want[before].to == NOWHERE ? -1 : 0);
        if (rc == 0) {
            assert_int_equal(move.to, want[before].to);
            assert_int_equal(move.hint, want[before].hint);
        }
    }
}

static void names_are_read_back(void **state)
{
    (void)state;
    enum ledger_state out;
    for (int i = 0; i < LEDGER_STATES; i++) {
        assert_int_equal(ledger_parse(ledger_name((enum ledger_state)i), &out), 0);
        assert_int_equal(out, i);
    }
    assert_int_equal(ledger_parse("paid", &out), -1);
    assert_int_equal(ledger_parse("", &out), -1);
}

static void confirmation_rule(void **state)
{
    (void)state;

    static const struct {
        struct ledger_rule rule;
        enum ledger_state state;
        int64_t block, cursor, ceiling, age_ms;
        bool moves;
        enum ledger_cause cause;
    } cases[] = {
        {{3, 0}, LEDGER_SEEN, 10, 10, INT64_MAX, 99999, false, 0},
        {{3, 0}, LEDGER_SEEN, 10, 11, INT64_MAX, 0, true, LEDGER_BURIED},
        {{3, 0}, LEDGER_CONFIRMING, 10, 12, INT64_MAX, 0, false, 0},
        {{3, 0}, LEDGER_CONFIRMING, 10, 13, INT64_MAX, 0, true, LEDGER_DEEP_ENOUGH},
        {{3, 0}, LEDGER_SEEN, 10, 13, INT64_MAX, 0, true, LEDGER_DEEP_ENOUGH},
        {{0, 0}, LEDGER_SEEN, 10, 10, INT64_MAX, 0, true, LEDGER_DEEP_ENOUGH},
        {{9, 1000}, LEDGER_SEEN, 10, 10, INT64_MAX, 999, false, 0},
        {{9, 1000}, LEDGER_SEEN, 10, 10, INT64_MAX, 1000, true, LEDGER_DEEP_ENOUGH},
        {{0, 1000}, LEDGER_SEEN, 10, 10, 9, 5000, false, 0},
        {{0, 0}, LEDGER_CONFIRMING, 10, 20, 9, 0, false, 0},
        {{0, 0}, LEDGER_CONFIRMING, 10, 20, 10, 0, true, LEDGER_DEEP_ENOUGH},
        {{0, 0}, LEDGER_SEEN, 10, 20, -1, 0, true, LEDGER_BURIED},
        {{0, 1000}, LEDGER_SEEN, 11, 10, INT64_MAX, 5000, false, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum ledger_cause cause;
        bool moves = ledger_judge(&cases[i].rule, cases[i].state, cases[i].block, cases[i].cursor,
                                  cases[i].ceiling, cases[i].age_ms, &cause);
        if (moves != cases[i].moves || (moves && cause != cases[i].cause))
            fail_msg("case %zu: moves %d, cause %d", i, moves, (int)cause);
    }
}

static void objections(void **state)
{
    (void)state;
    static const struct ledger_token tokens[] = {{{1}, 1}, {{2}, 2}};
    static const uint8_t one[20] = {1}, three[20] = {3};

    static const struct {
        struct quote_terms terms;
        const uint8_t *token;
        uint16_t seq_before;
        const char *want;
    } cases[] = {
        {{.start = 1, .expiry = 2, .seq = 1, .token = 1}, one, 0, NULL},
        {{.start = 1, .expiry = 2, .seq = 1, .token = 2}, one, 0, "unknown-token"},
        {{.start = 1, .expiry = 2, .seq = 1, .token = 3}, three, 0, "unknown-token"},
        {{.start = 2, .expiry = 2, .seq = 1, .token = 1}, one, 0, "bad-period"},
        {{.start = 1, .expiry = 2, .seq = 5, .token = 1}, one, 5, "seq-used"},
        {{.start = 1, .expiry = 2, .seq = 7, .token = 1}, one, 5, "seq-gap"},
        {{.start = 1, .expiry = 2, .seq = 65535, .token = 1}, one, 65534, NULL},
        {{.start = 1, .expiry = 2, .seq = 0, .token = 1}, one, 65535, "seq-used"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *why = ledger_objection(&cases[i].terms, cases[i].token, cases[i].seq_before,
                                           tokens, ARRAY_LEN(tokens));
        if ((why == NULL) != (cases[i].want == NULL) ||
            (why != NULL && strcmp(why, cases[i].want) != 0))
            fail_msg("case %zu: %s", i, why == NULL ? "none" : why);
    }
    assert_null(ledger_objection(&cases[2].terms, three, 0, NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_transition),
        cmocka_unit_test(hints_follow_what_counts),
        cmocka_unit_test(an_undone_refund_gives_back),
        cmocka_unit_test(names_are_read_back),
        cmocka_unit_test(confirmation_rule),
        cmocka_unit_test(objections),
    };
    log_init("test", LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
