/* Which transfers a payment explains, and the id under which the others can be sent back. */
#include "services/payd/transfer.h"

#include "libcommon/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MOST 12

/* P, U, T: Paid, ToppedUp, Transfer; the digits are the token and the amount. '/' begins the next
 * transaction,
 * '|' the next block (with the same transaction hash: mined again), 'S' is another event. */
static void make(const char *text, struct evm_event events[MOST], struct evm_events *out)
{
    int64_t block = 1;
    char tx = 'a';
    *out = (struct evm_events){events, 0};
    for (const char *at = text; *at != '\0'; at++) {
        struct evm_event *event = &events[out->count];
        if (*at == '/')
            tx++;
        else if (*at == '|')
            block++;
        if (strchr("PUTS", *at) == NULL)
            continue;
        *event = (struct evm_event){.block = block, .log_index = (int64_t)out->count};
        event->kind = *at == 'P'   ? EVM_PAID
                      : *at == 'U' ? EVM_TOPPED_UP
                      : *at == 'T' ? EVM_TRANSFER
                                   : EVM_SIGNER_CHANGED;
        memset(event->tx_hash, tx, EVM_HASH - 1);
        if (*at != 'S') {
            event->token[0] = (uint8_t)at[1];
            event->amount.b[31] = (uint8_t)at[2];
        }
        out->count++;
    }
}

/* want: for each event, '.' or the ordinal of an unmatched transfer. */
static void assert_marks(const struct evm_events *events, const struct transfer_mark *marks,
                         const char *want)
{
    char got[MOST + 1] = "";
    for (size_t n = 0; n < events->count; n++)
        got[n] = marks[n].unmatched ? (char)('0' + marks[n].ordinal) : '.';
    assert_string_equal(got, want);
}

static void every_payment_takes_one_transfer(void **state)
{
    (void)state;

    static const struct {
        const char *events, *want;
    } cases[] = {
        {"", ""},
        {"P15 T15", ".."},
        {"T15", "0"},
        {"T15 P15", "0."},           /* what came before paid for nothing */
        {"T15 P15 T15", "0.."},      /* the later one is the payment's */
        {"P15 T15 T15", "..1"},      /* one each */
        {"P15 P15 T15 T15", "...."}, /* two payments */
        {"P15 P15 T15", "..."},
        {"P15 T14", ".0"},   /* underpaid: cannot be, so it is not the payment's */
        {"P15 T16", ".0"},   /* overpaid */
        {"P15 T25", ".0"},   /* another token */
        {"P15 / T15", ".0"}, /* another transaction */
        {"P15 | T15", ".0"}, /* another block */
        {"T15 / T15", "00"}, /* ordinals begin anew */
        {"T15 T16 T15", "012"},
        {"T14 P15 T15 T16", "0..2"},
        {"P15 S T15", "..."},
        {"P15 T25 P25 T15 T25", ".0..."},
        {"S T15 S", ".0."},
        {"U15 T15", ".."}, /* a top-up is explained, too */
        {"T15 U15 T15", "0.."},
        {"P15 T15 U15 T15 T15", "....2"},
        {"U15 T16", ".0"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct evm_event items[MOST];
        struct evm_events events;
        struct transfer_mark marks[MOST + 1];
        make(cases[i].events, items, &events);
        transfer_match(&events, marks);
        assert_marks(&events, marks, cases[i].want);
    }
}

/* Only the largest of each block and token stay; what a payment explains is left alone. */
static void the_largest_are_kept(void **state)
{
    (void)state;
    static const uint8_t contract[20] = {0xc0};

    static const struct {
        size_t most;
        const char *events, *want;
        size_t others;
    } cases[] = {
        {2, "", "", 0},
        {2, "T15 T16", "01", 0},
        {2, "T15 T17 T16", ".12", 1},
        {1, "T15 T17 T16", ".1.", 2},
        {2, "T15 T15 T15", "01.", 1},      /* the earlier of equal ones */
        {1, "T15 T25 T16 T26", "..23", 2}, /* each token by itself */
        {1, "T15 | T14 | T13", "000", 0},  /* each block by itself */
        {1, "P19 T19 T15 T16", "...2", 1}, /* the payment's own does not count */
        {1, "T15 / T19 / P18 T18 / T12", ".0...", 2},
        {2, "S T15 S T17 S T16 S", "...1.2.", 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct evm_event items[MOST];
        struct evm_events events;
        struct transfer_mark marks[MOST + 1];
        make(cases[i].events, items, &events);
        transfer_match(&events, marks);
        assert_int_equal(transfer_keep(&events, contract, cases[i].most, marks), cases[i].others);
        assert_marks(&events, marks, cases[i].want);
    }
}

/* Nothing at all, and what the contract sent to itself, take nobody's place. */
static void what_cannot_be_sent_back_is_not_kept(void **state)
{
    (void)state;
    static const uint8_t contract[20] = {0xc0};
    struct evm_event items[MOST];
    struct evm_events events;
    struct transfer_mark marks[MOST + 1];
    make("T19 T10 T15", items, &events);
    memcpy(items[0].account, contract, 20);
    items[1].amount.b[31] = 0;
    transfer_match(&events, marks);
    assert_int_equal(transfer_keep(&events, contract, 1, marks), 0);
    assert_false(marks[0].unmatched || marks[1].unmatched);
    assert_true(marks[2].unmatched);
    assert_int_equal(marks[2].ordinal, 2);
}

/* As viem encodes them. */
static void ids_are_the_contracts(void **state)
{
    (void)state;
    static const char tx[] = "0x1111111111111111111111111111111111111111111111111111111111111111";
    static const char *const want[] = {
        "0x1fa61437cdb22b715de50c19f097fa55a31d7c04b73761db3c6b06a6185764c7",
        "0x69dc72432637774ae902b75c63460d6dff20c6eccf5dc7ab50afbec9fed14bee",
    };
    for (int32_t i = 0; i < 2; i++) {
        char text[67];
        struct word id = transfer_id(4441, tx, i);
        word_hex(&id, text);
        assert_string_equal(text, want[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_payment_takes_one_transfer),
        cmocka_unit_test(the_largest_are_kept),
        cmocka_unit_test(what_cannot_be_sent_back_is_not_kept),
        cmocka_unit_test(ids_are_the_contracts),
    };
    log_init("test", LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
