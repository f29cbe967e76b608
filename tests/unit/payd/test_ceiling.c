/* Up to which block payments may be confirmed, with endpoints that say what the test wants. */
#include "services/payd/ceiling.h"

#include "libcommon/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define WAIT_MS 1000
#define NONE    INT64_MAX

struct world {
    int64_t head;
    int64_t tagged;                   /* NONE: no tag */
    int64_t blocks[CLAIM_BLOCKS + 4]; /* with events that are not agreed on, ascending */
    size_t block_count;
    struct agree_voice voices[2];
    int64_t has[2];    /* an endpoint has blocks up to this one */
    int64_t forks;     /* the second has other blocks from here on */
    int64_t events[2]; /* an endpoint has other events in this block */
    int64_t asked[16];
    size_t asked_count;
    bool broken; /* the database */
    bool closed; /* something was confirmed */
};

static int on_latest(void *ctx, struct evm_block *out, struct err *err)
{
    (void)err;
    *out = (struct evm_block){.number = ((struct world *)ctx)->head};
    return 0;
}

static int on_tag(void *ctx, int64_t *number, struct err *err)
{
    (void)err;
    *number = ((struct world *)ctx)->tagged;
    return 0;
}

static int on_waiting(void *ctx, int64_t at_most, struct claim *out, struct err *err)
{
    const struct world *world = ctx;
    out->count = 0;
    if (world->broken)
        return err_set(err, "broken");
    for (size_t i = 0; i < world->block_count && out->count < CLAIM_BLOCKS; i++) {
        if (world->blocks[i] <= at_most)
            out->blocks[out->count++].at.number = world->blocks[i];
    }
    return 0;
}

static int on_agreed(void *ctx, int64_t number, struct err *err)
{
    struct world *world = ctx;
    size_t kept = 0;
    (void)err;
    for (size_t i = 0; i < world->block_count; i++) {
        if (world->blocks[i] > number)
            world->blocks[kept++] = world->blocks[i];
    }
    world->block_count = kept;
    return 0;
}

static int on_closed(void *ctx, int64_t above, bool *any, struct err *err)
{
    (void)above, (void)err;
    *any = ((struct world *)ctx)->closed;
    return 0;
}

static void events_say(const struct world *world, size_t who, const struct claim *claim,
                       struct agree_voice *voice)
{
    for (size_t i = 0; voice->word == AGREE_SAME && i < claim->count; i++) {
        if (claim->blocks[i].at.number != world->events[who])
            continue;
        voice->word = AGREE_EVENTS;
        voice->differs = i;
    }
}

static void on_ask(void *ctx, const struct claim *claim, struct agree_voice *voices)
{
    struct world *world = ctx;
    const struct follow_cursor *block = claim_newest(claim);
    world->asked[world->asked_count++ % ARRAY_LEN(world->asked)] = block->number;
    for (size_t i = 0; i < 2; i++) {
        struct agree_voice *voice = &world->voices[i];
        bool other = i == 1 && block->number >= world->forks;
        voice->word = block->number > world->has[i] ? AGREE_LACKS
                      : other                       ? AGREE_OTHER
                                                    : AGREE_SAME;
        events_say(world, i, claim, voice);
        voice->said_head = voice->head = world->has[i];
        voices[i] = *voice;
    }
}

struct bench {
    struct world world;
    struct follow_chain chain;
    struct ceiling *ceiling;
};

static void bench_open(struct bench *bench, bool by_time)
{
    *bench =
        (struct bench){.world = {.head = 100, .tagged = NONE, .has = {200, 200}, .forks = NONE}};
    bench->world.voices[0].up = bench->world.voices[1].up = true;
    bench->chain = (struct follow_chain){.ctx = &bench->world, .latest = on_latest};
    const struct ceiling_options options = {.chain = &bench->chain,
                                            .voices = 2,
                                            .confirmations = 3,
                                            .by_time = by_time,
                                            .wait_ms = WAIT_MS,
                                            .ctx = &bench->world,
                                            .waiting = on_waiting,
                                            .ask = on_ask,
                                            .closed = on_closed,
                                            .agreed = on_agreed};
    bench->ceiling = ceiling_new(&options);
}

static int64_t step(struct bench *bench, int64_t at)
{
    const struct follow_chain *view = ceiling_view(bench->ceiling);
    struct evm_block latest;
    int64_t number;
    ceiling_begin(bench->ceiling, at);
    assert_int_equal(view->latest(view->ctx, &latest, NULL), 0);
    assert_int_equal(view->ceiling(view->ctx, &number, NULL), 0);
    return number;
}

static enum agree_verdict verdict(struct bench *bench)
{
    return ceiling_state(bench->ceiling).verdict;
}

static void blocks(struct world *world, size_t count, int64_t a, int64_t b)
{
    world->block_count = count;
    world->blocks[0] = a;
    world->blocks[1] = b;
}

static void nobody_is_asked_while_nothing_waits(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, false);
    assert_int_equal(step(&bench, 90), 90);
    assert_int_equal(step(&bench, 100), 97);
    blocks(&bench.world, 1, 98, 0);
    assert_int_equal(step(&bench, 100), 97);
    assert_int_equal(bench.world.asked_count, 0);
    ceiling_free(&bench.ceiling);
}

static void the_newest_that_waits_is_asked_for_once(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, false);
    blocks(&bench.world, 2, 91, 95);
    assert_int_equal(step(&bench, 100), 95);
    assert_int_equal(step(&bench, 100), 97);
    assert_int_equal(bench.world.asked_count, 1);
    assert_int_equal(bench.world.asked[0], 95);
    assert_int_equal(verdict(&bench), AGREE_YES);
    ceiling_free(&bench.ceiling);
}

static void a_step_s_own_blocks_are_above_it(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, true);
    bench.world.head = 1000;
    assert_int_equal(step(&bench, 100), 100);
    ceiling_free(&bench.ceiling);
}

static void a_tag_holds_too(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, false);
    bench.chain.ceiling = on_tag;
    bench.world.tagged = 50;
    blocks(&bench.world, 2, 45, 60);
    assert_int_equal(step(&bench, 100), 45);
    assert_int_equal(bench.world.asked[0], 45);
    bench.world.tagged = -1;
    assert_int_equal(step(&bench, 100), -1);
    ceiling_free(&bench.ceiling);
}

static void a_contradiction_confirms_nothing(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, false);
    blocks(&bench.world, 2, 91, 95);
    bench.world.forks = 95;
    assert_int_equal(step(&bench, 100), 90);
    assert_int_equal(verdict(&bench), AGREE_NO);
    assert_int_equal(step(&bench, 100), 90);
    assert_int_equal(bench.world.asked_count, 2);
    bench.world.voices[1].up = false;
    assert_int_equal(step(&bench, 100), 95);
    assert_int_equal(verdict(&bench), AGREE_YES);
    ceiling_free(&bench.ceiling);
}

static void one_that_lags_is_asked_for_what_it_has(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, false);
    blocks(&bench.world, 2, 91, 95);
    bench.world.has[1] = 93;
    assert_int_equal(step(&bench, 100), 90);
    assert_int_equal(verdict(&bench), AGREE_WAIT);
    assert_int_equal(step(&bench, 100), 91);
    assert_int_equal(bench.world.asked[1], 91);
    assert_int_equal(bench.world.block_count, 1);
    assert_int_equal(step(&bench, 100), 94);
    bench.world.voices[1].lacks_ms = WAIT_MS;
    assert_int_equal(step(&bench, 100), 95);
    ceiling_free(&bench.ceiling);
}

static void a_question_stands_while_the_chain_runs_on(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, false);
    blocks(&bench.world, 1, 95, 0);
    bench.world.has[1] = 93;
    for (int64_t at = 100; at < 105; at++) {
        bench.world.head = at;
        blocks(&bench.world, 2, 95, at - 3);
        step(&bench, at);
    }
    for (size_t i = 0; i < bench.world.asked_count; i++)
        assert_int_equal(bench.world.asked[i], bench.world.asked[0]);
    ceiling_free(&bench.ceiling);
}

static void what_leaves_the_chain_is_asked_for_again(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, false);
    blocks(&bench.world, 1, 95, 0);
    assert_int_equal(step(&bench, 100), 95);
    assert_int_equal(step(&bench, 93), 93);
    blocks(&bench.world, 1, 95, 0);
    assert_int_equal(step(&bench, 100), 95);
    assert_int_equal(bench.world.asked_count, 2);
    ceiling_free(&bench.ceiling);
}

static void other_events_confirm_nothing(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, false);
    blocks(&bench.world, 2, 91, 95);
    bench.world.events[1] = 91;
    assert_int_equal(step(&bench, 100), 90);
    struct ceiling_state now = ceiling_state(bench.ceiling);
    assert_int_equal(now.verdict, AGREE_NO);
    assert_true(now.events);
    assert_int_equal(now.block.number, 91);
    bench.world.events[1] = 95;
    assert_int_equal(step(&bench, 100), 90);
    assert_int_equal(ceiling_state(bench.ceiling).block.number, 95);
    bench.world.events[1] = 0;
    assert_int_equal(step(&bench, 100), 95);
    assert_int_equal(verdict(&bench), AGREE_YES);
    ceiling_free(&bench.ceiling);
}

static void what_all_say_otherwise_is_wrong_and_told_once(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, false);
    blocks(&bench.world, 2, 91, 95);
    bench.world.events[0] = bench.world.events[1] = 95;
    assert_int_equal(step(&bench, 100), 90);
    assert_int_equal(verdict(&bench), AGREE_WRONG);
    assert_int_equal(ceiling_state(bench.ceiling).block.number, 95);
    ceiling_begin(bench.ceiling, 94);
    assert_int_equal(verdict(&bench), AGREE_WAIT);
    bench.world.events[0] = bench.world.events[1] = 0;
    assert_int_equal(step(&bench, 100), 95);
    ceiling_free(&bench.ceiling);
}

static void what_is_over_the_bound_waits_for_the_next_step(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, false);
    bench.world.block_count = CLAIM_BLOCKS + 2;
    for (int64_t i = 0; i < CLAIM_BLOCKS + 2; i++)
        bench.world.blocks[i] = 60 + i;
    assert_int_equal(step(&bench, 100), 60 + CLAIM_BLOCKS - 1);
    assert_int_equal(step(&bench, 100), 60 + CLAIM_BLOCKS + 1);
    assert_int_equal(step(&bench, 100), 97);
    assert_int_equal(bench.world.asked_count, 2);
    ceiling_free(&bench.ceiling);
}

static int take_back(struct bench *bench, int64_t number)
{
    const struct follow_chain *view = ceiling_view(bench->ceiling);
    struct follow_cursor block = {.number = number, .hash = "0xab"};
    return view->gone(view->ctx, &block, number - 1, NULL);
}

static void what_was_confirmed_is_not_taken_back_by_one(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, false);
    bench.world.forks = 90;
    assert_int_equal(take_back(&bench, 95), 0);
    assert_int_equal(bench.world.asked_count, 0);
    bench.world.closed = true;
    assert_int_equal(take_back(&bench, 95), -1);
    /* Nothing above it is confirmed, and it is told of, until nobody has another block. */
    assert_int_equal(step(&bench, 100), 94);
    assert_int_equal(verdict(&bench), AGREE_NO);
    assert_false(ceiling_left(bench.ceiling, 0));
    assert_true(ceiling_left(bench.ceiling, 1));
    bench.world.forks = NONE;
    assert_int_equal(step(&bench, 100), 97);
    assert_int_equal(verdict(&bench), AGREE_YES);
    assert_false(ceiling_left(bench.ceiling, 1));
    ceiling_free(&bench.ceiling);
}

static void what_nobody_has_any_more_is_taken_back(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, false);
    bench.world.closed = true;
    bench.world.forks = 90;
    assert_int_equal(take_back(&bench, 95), -1);
    bench.world.voices[0].up = false;
    assert_int_equal(take_back(&bench, 95), 0);
    bench.world.voices[0].up = true;
    bench.world.forks = NONE;
    assert_int_equal(step(&bench, 94), 94);
    assert_int_equal(verdict(&bench), AGREE_YES);
    ceiling_free(&bench.ceiling);
}

static void a_failure_is_handed_on(void **state)
{
    (void)state;
    struct bench bench;
    int64_t number;
    bench_open(&bench, false);
    bench.world.broken = true;
    const struct follow_chain *view = ceiling_view(bench.ceiling);
    ceiling_begin(bench.ceiling, 100);
    assert_int_equal(view->ceiling(view->ctx, &number, NULL), -1);
    ceiling_free(&bench.ceiling);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_asked_while_nothing_waits),
        cmocka_unit_test(the_newest_that_waits_is_asked_for_once),
        cmocka_unit_test(a_step_s_own_blocks_are_above_it),
        cmocka_unit_test(a_tag_holds_too),
        cmocka_unit_test(a_contradiction_confirms_nothing),
        cmocka_unit_test(one_that_lags_is_asked_for_what_it_has),
        cmocka_unit_test(a_question_stands_while_the_chain_runs_on),
        cmocka_unit_test(what_leaves_the_chain_is_asked_for_again),
        cmocka_unit_test(other_events_confirm_nothing),
        cmocka_unit_test(what_all_say_otherwise_is_wrong_and_told_once),
        cmocka_unit_test(what_is_over_the_bound_waits_for_the_next_step),
        cmocka_unit_test(what_was_confirmed_is_not_taken_back_by_one),
        cmocka_unit_test(what_nobody_has_any_more_is_taken_back),
        cmocka_unit_test(a_failure_is_handed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
