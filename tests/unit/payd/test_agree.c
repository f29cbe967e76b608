/* What the words of several endpoints come to. */
#include "services/payd/agree.h"

#include "libcommon/mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define UP(w)                                                                                      \
    {                                                                                              \
        .up = true, .word = (w), .head = 100, .said_head = 100                                     \
    }
#define DOWN(w)                                                                                    \
    {                                                                                              \
        .up = false, .word = (w), .head = 100, .said_head = 100                                    \
    }
#define LATE(ms)                                                                                   \
    {                                                                                              \
        .up = true, .word = AGREE_LACKS, .head = 90, .said_head = 90, .lacks_ms = (ms)             \
    }
#define TELLS(block, digest)                                                                       \
    {                                                                                              \
        .up = true, .word = AGREE_EVENTS, .head = 100, .said_head = 100, .differs = (block),       \
        .said = {                                                                                  \
            digest                                                                                 \
        }                                                                                          \
    }
#define WAIT_MS 1000

static void verdicts(void **state)
{
    (void)state;

    static const struct {
        struct agree_voice voices[3];
        size_t count;
        enum agree_verdict want;
    } cases[] = {
        {{UP(AGREE_SAME)}, 1, AGREE_YES},
        {{UP(AGREE_SAME), UP(AGREE_SAME), UP(AGREE_SAME)}, 3, AGREE_YES},
        {{UP(AGREE_SAME), DOWN(AGREE_SILENT)}, 2, AGREE_YES},
        {{UP(AGREE_SAME), DOWN(AGREE_OTHER)}, 2, AGREE_YES},
        {{UP(AGREE_SAME), UP(AGREE_SILENT)}, 2, AGREE_WAIT},
        {{UP(AGREE_SAME), LATE(0)}, 2, AGREE_WAIT},
        {{UP(AGREE_SAME), LATE(WAIT_MS - 1)}, 2, AGREE_WAIT},
        {{UP(AGREE_SAME), LATE(WAIT_MS)}, 2, AGREE_YES},
        {{LATE(WAIT_MS), LATE(WAIT_MS)}, 2, AGREE_WAIT},
        {{UP(AGREE_SAME), UP(AGREE_OTHER)}, 2, AGREE_NO},
        {{UP(AGREE_SAME), UP(AGREE_SAME), UP(AGREE_OTHER)}, 3, AGREE_NO},
        {{UP(AGREE_OTHER), UP(AGREE_SILENT)}, 2, AGREE_NO},
        {{LATE(0), UP(AGREE_OTHER)}, 2, AGREE_NO},
        {{UP(AGREE_OTHER)}, 1, AGREE_NO},
        {{DOWN(AGREE_SAME), DOWN(AGREE_SAME)}, 2, AGREE_WAIT},
        {{UP(AGREE_SILENT)}, 0, AGREE_WAIT},
        {{UP(AGREE_SAME), TELLS(0, 1)}, 2, AGREE_NO},
        {{TELLS(0, 1), UP(AGREE_SAME), UP(AGREE_SILENT)}, 3, AGREE_NO},
        {{TELLS(0, 1), TELLS(0, 1)}, 2, AGREE_WRONG},
        {{TELLS(0, 1)}, 1, AGREE_WRONG},
        {{TELLS(0, 1), DOWN(AGREE_SAME)}, 2, AGREE_WRONG},
        {{TELLS(0, 1), LATE(WAIT_MS)}, 2, AGREE_WRONG},
        {{TELLS(0, 1), TELLS(0, 2)}, 2, AGREE_NO},
        {{TELLS(0, 1), TELLS(1, 1)}, 2, AGREE_NO},
        {{TELLS(0, 1), UP(AGREE_SILENT)}, 2, AGREE_WAIT},
        {{TELLS(0, 1), LATE(0)}, 2, AGREE_WAIT},
        {{TELLS(0, 1), UP(AGREE_OTHER)}, 2, AGREE_NO},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (agree_judge(cases[i].voices, cases[i].count, WAIT_MS) != cases[i].want)
            fail_msg("case %zu", i);
    }
}

static void heads(void **state)
{
    (void)state;

    static const struct {
        int64_t heads[4];
        size_t count;
        int64_t want;
    } cases[] = {
        {{-1}, 1, -1},
        {{7}, 1, 7},
        {{7, 9}, 2, 9},
        {{9, 7}, 2, 9},
        {{7, -1, 9}, 3, 9},
        {{7, 1000000, 9}, 3, 9},
        {{1000000, 9, 7}, 3, 9},
        {{7, 9, 1000000}, 3, 9},
        {{9, 9, 9, 9}, 4, 9},
        {{1, 2, 3, 4}, 4, 3},
        {{5}, 0, -1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct agree_voice voices[4] = {0};
        for (size_t k = 0; k < cases[i].count; k++)
            voices[k] = (struct agree_voice){.up = true, .head = cases[i].heads[k]};
        if (agree_head(voices, cases[i].count) != cases[i].want)
            fail_msg("case %zu", i);
    }
    /* What is down tells nobody how far the chain is. */
    const struct agree_voice voices[] = {{.up = true, .head = 5}, {.up = false, .head = 9}};
    assert_int_equal(agree_head(voices, 2), 5);
}

static void behind(void **state)
{
    (void)state;
    const struct agree_voice up = {.up = true, .head = 100}, down = {.up = false, .head = 100};
    const struct agree_voice unknown = {.up = true, .head = -1};
    assert_false(agree_behind(&up, 116, 16));
    assert_true(agree_behind(&up, 117, 16));
    assert_false(agree_behind(&up, -1, 16));
    assert_true(agree_behind(&down, 100, 16));
    assert_false(agree_behind(&unknown, 1000, 16));
}

/* Whether a block of ours may be taken back, and whether it is doubted. */
static void gone(void **state)
{
    (void)state;

    static const struct {
        struct agree_voice voices[3];
        size_t count;
        enum agree_verdict gone, there;
    } cases[] = {
        {{UP(AGREE_OTHER)}, 1, AGREE_YES, AGREE_NO},
        {{UP(AGREE_OTHER), DOWN(AGREE_SAME)}, 2, AGREE_YES, AGREE_NO},
        {{DOWN(AGREE_SAME)}, 1, AGREE_YES, AGREE_YES},
        {{UP(AGREE_OTHER), UP(AGREE_OTHER)}, 2, AGREE_YES, AGREE_NO},
        {{UP(AGREE_OTHER), UP(AGREE_SAME)}, 2, AGREE_NO, AGREE_NO},
        {{UP(AGREE_OTHER), TELLS(0, 1)}, 2, AGREE_NO, AGREE_NO},
        {{UP(AGREE_OTHER), UP(AGREE_OTHER), UP(AGREE_SAME)}, 3, AGREE_YES, AGREE_NO},
        {{UP(AGREE_OTHER), UP(AGREE_SAME), UP(AGREE_SAME)}, 3, AGREE_NO, AGREE_NO},
        {{UP(AGREE_OTHER), UP(AGREE_SILENT)}, 2, AGREE_WAIT, AGREE_NO},
        {{UP(AGREE_OTHER), LATE(WAIT_MS - 1)}, 2, AGREE_WAIT, AGREE_NO},
        {{UP(AGREE_OTHER), LATE(WAIT_MS)}, 2, AGREE_YES, AGREE_NO},
        {{UP(AGREE_SAME), UP(AGREE_SAME)}, 2, AGREE_NO, AGREE_YES},
        {{UP(AGREE_SAME), TELLS(0, 1)}, 2, AGREE_NO, AGREE_YES},
        {{UP(AGREE_SAME), UP(AGREE_SILENT)}, 2, AGREE_WAIT, AGREE_WAIT},
        {{UP(AGREE_SAME), DOWN(AGREE_OTHER)}, 2, AGREE_NO, AGREE_YES},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(agree_gone(cases[i].voices, cases[i].count, WAIT_MS), cases[i].gone);
        assert_int_equal(agree_there(cases[i].voices, cases[i].count, WAIT_MS), cases[i].there);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts),
        cmocka_unit_test(gone),
        cmocka_unit_test(heads),
        cmocka_unit_test(behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
