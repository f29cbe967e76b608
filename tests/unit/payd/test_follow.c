/* The follower against a model chain that grows, shrinks and changes its mind at any depth, and a
 * store in memory: after every quiet moment the store holds exactly the chain's events, each once.
 */
#include "services/payd/follow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define BLOCKS 400
#define EVENTS 2500

struct model_block {
    uint64_t id; /* makes the hash */
    unsigned events;
};

struct model {
    struct model_block chain[BLOCKS];
    int64_t head;
    int64_t first;
    uint64_t next_id;
    int fail_in;         /* calls until one fails; 0: never */
    int64_t range_limit; /* events_in refuses more blocks; 0: never */
    int64_t change_in;   /* calls until the chain changes below a reader's feet; 0: never */
    int64_t change_depth;
    /* Each block from here on is told of after three tries in a row; another one in between counts
     * them anew. 0: never */
    int64_t stubborn, stubborn_block;
    int stubborn_tries;
    bool foreign;      /* what answers is of another chain */
    bool ranges_empty; /* it leaves everything out where it is asked about more than one block */
    /* And so in these calls, of which the first is 1. 0: never */
    int64_t stray_from, stray_to, calls;
    /* the store */
    struct follow_cursor cursor;
    struct evm_block kept[BLOCKS];
    size_t kept_count;
    struct evm_event events[EVENTS];
    size_t event_count;
    int rollbacks, settled;
    size_t largest; /* most events of one step */
};

static void hash_of(uint64_t id, char out[EVM_HASH])
{
    snprintf(out, EVM_HASH, "0x%064llx", (unsigned long long)id);
}

static struct evm_block block_at(const struct model *m, int64_t number)
{
    struct evm_block block = {.number = number, .time = number};
    hash_of(m->chain[number].id, block.hash);
    hash_of(number == 0 ? 0 : m->chain[number - 1].id, block.parent);
    return block;
}

static void grow(struct model *m, int64_t blocks, unsigned events)
{
    for (int64_t i = 0; i < blocks && m->head + 1 < BLOCKS; i++) {
        m->head++;
        m->chain[m->head] = (struct model_block){++m->next_id, i == 0 ? events : 0};
    }
}

static void reorganise(struct model *m, int64_t depth, int64_t blocks)
{
    m->head = depth > m->head ? 0 : m->head - depth;
    if (m->head == 0)
        m->chain[0].id = ++m->next_id;
    grow(m, blocks, 1);
}

static bool strays(const struct model *m)
{
    return m->stray_from > 0 && m->calls >= m->stray_from && m->calls < m->stray_to;
}

static int call(struct model *m, struct err *err)
{
    m->calls += m->stray_from > 0;
    if (m->change_in > 0 && --m->change_in == 0)
        reorganise(m, m->change_depth, m->change_depth + 1);
    if (m->fail_in > 0 && --m->fail_in == 0)
        return err_set(err, "away");
    return 0;
}

static int on_latest(void *ctx, struct evm_block *out, struct err *err)
{
    struct model *m = ctx;
    if (call(m, err) != 0)
        return -1;
    *out = block_at(m, m->head);
    return 0;
}

static int on_block(void *ctx, int64_t number, struct evm_block *out, bool *found, struct err *err)
{
    struct model *m = ctx;
    if (call(m, err) != 0)
        return -1;
    *found = number >= 0 && number <= m->head;
    if (*found)
        *out = block_at(m, number);
    if (*found && strays(m))
        hash_of(1000000 + (uint64_t)number, out->hash);
    return 0;
}

static int on_ceiling(void *ctx, int64_t *number, struct err *err)
{
    struct model *m = ctx;
    if (call(m, err) != 0)
        return -1;
    *number = m->head;
    return 0;
}

/* Below a ceiling that the chain gave, only blocks of that chain are confirmed. */
static void check_ceiling(const struct model *m, const struct follow_cursor *at,
                          const struct follow_view *view)
{
    if (view->ceiling == INT64_MAX)
        return;
    struct evm_block block = block_at(m, at->number);
    assert_string_equal(at->hash, block.hash);
}

static void add_events(const struct model *m, int64_t number, struct evm_events *out)
{
    struct evm_block block = block_at(m, number);
    for (unsigned i = 0; number >= m->first && i < m->chain[number].events; i++) {
        struct evm_events one = {mem_array(1, sizeof(*one.items)), 1};
        one.items[0].block = number;
        one.items[0].log_index = i;
        memcpy(one.items[0].block_hash, block.hash, EVM_HASH);
        evm_events_append(out, &one);
    }
}

static bool refuses(struct model *m, int64_t number)
{
    if (m->stubborn == 0 || number < m->stubborn)
        return false;
    m->stubborn_tries = number == m->stubborn_block ? m->stubborn_tries + 1 : 1;
    m->stubborn_block = number;
    return m->stubborn_tries < 3;
}

static int on_events_of(void *ctx, const char *hash, struct evm_events *out, struct err *err)
{
    struct model *m = ctx;
    if (call(m, err) != 0)
        return -1;
    for (int64_t number = 0; number <= m->head; number++) {
        struct evm_block block = block_at(m, number);
        if (strcmp(block.hash, hash) == 0) {
            if (refuses(m, number))
                return err_set(err, "too many");
            add_events(m, number, out);
            return 0;
        }
    }
    return err_set(err, "unknown block");
}

static int on_events_in(void *ctx, int64_t from, int64_t to, struct evm_events *out, bool *too_much,
                        struct err *err)
{
    struct model *m = ctx;
    *too_much = false;
    if (call(m, err) != 0)
        return -1;
    if (m->range_limit > 0 && to - from + 1 > m->range_limit) {
        *too_much = true;
        return err_set(err, "too many blocks");
    }
    for (int64_t number = from; number <= to && number <= m->head && !m->ranges_empty; number++)
        add_events(m, number, out);
    return 0;
}

static int on_ours(void *ctx, struct err *err)
{
    struct model *m = ctx;
    m->calls += m->stray_from > 0;
    return m->foreign || strays(m) ? err_set(err, "another chain") : 0;
}

static int on_kept(void *ctx, int64_t at_most, struct evm_block *out, bool *found, struct err *err)
{
    struct model *m = ctx;
    (void)err;
    *found = false;
    for (size_t i = 0; i < m->kept_count; i++) {
        if (m->kept[i].number <= at_most && (!*found || m->kept[i].number > out->number)) {
            *out = m->kept[i];
            *found = true;
        }
    }
    return 0;
}

static void check_from(const struct model *m, const struct follow_cursor *from)
{
    assert_int_equal(m->cursor.number, from->number);
    assert_string_equal(m->cursor.hash, from->hash);
}

static int on_advance(void *ctx, const struct follow_cursor *from, const struct follow_batch *batch,
                      const struct follow_view *view, struct err *err)
{
    struct model *m = ctx;
    (void)err;
    check_from(m, from);
    check_ceiling(m, &batch->to, view);
    for (size_t i = 0; i < batch->block_count; i++)
        m->kept[m->kept_count++] = batch->blocks[i];
    for (size_t i = 0; i < batch->events.count; i++)
        m->events[m->event_count++] = batch->events.items[i];
    if (batch->events.count > m->largest)
        m->largest = batch->events.count;
    m->cursor = batch->to;
    return 0;
}

static int on_rollback(void *ctx, const struct follow_cursor *from, const struct follow_cursor *to,
                       const struct follow_view *view, struct err *err)
{
    struct model *m = ctx;
    size_t n = 0;
    (void)err, (void)view;
    check_from(m, from);
    assert_true(to->number < from->number);
    for (size_t i = 0; i < m->kept_count; i++) {
        if (m->kept[i].number <= to->number)
            m->kept[n++] = m->kept[i];
    }
    m->kept_count = n;
    n = 0;
    for (size_t i = 0; i < m->event_count; i++) {
        if (m->events[i].block <= to->number)
            m->events[n++] = m->events[i];
    }
    m->event_count = n;
    m->cursor = *to;
    m->rollbacks++;
    return 0;
}

static int on_settle(void *ctx, const struct follow_cursor *at, const struct follow_view *view,
                     struct err *err)
{
    struct model *m = ctx;
    (void)err;
    check_from(m, at);
    check_ceiling(m, at, view);
    m->settled++;
    return 0;
}

struct bench {
    struct model *model;
    struct follow_chain chain;
    struct follow_store store;
    struct follow_options options;
    struct follow *follow;
};

static void bench_begin(struct bench *b, int64_t first, int64_t tail, int64_t range)
{
    struct model *m = mem_zalloc(sizeof(*m));
    m->first = first;
    m->cursor.number = first - 1;
    m->chain[0].id = ++m->next_id;
    *b = (struct bench){
        .model = m,
        .chain = {.ctx = m,
                  .latest = on_latest,
                  .block = on_block,
                  .events_of = on_events_of,
                  .events_in = on_events_in,
                  .ours = on_ours},
        .store = {m, on_kept, on_advance, on_rollback, on_settle},
    };
    b->options = (struct follow_options){NULL, NULL, first, tail, range, 4};
    b->options.chain = &b->chain;
    b->options.store = &b->store;
}

static void bench_restart(struct bench *b)
{
    follow_free(&b->follow);
    b->follow = follow_new(&b->options, &b->model->cursor);
}

static void bench_end(struct bench *b)
{
    follow_free(&b->follow);
    free(b->model);
}

/* Steps until the head is reached; failures restart from the store, as the leader does. */
static void settle(struct bench *b)
{
    for (int i = 0; i < 5000; i++) {
        struct err err;
        enum follow_progress progress = FOLLOW_MORE;
        if (follow_step(b->follow, &progress, &err) != 0)
            bench_restart(b);
        else if (progress == FOLLOW_CURRENT && b->model->cursor.number == b->model->head)
            return;
    }
    fail_msg("the head was not reached: cursor %lld, head %lld", (long long)b->model->cursor.number,
             (long long)b->model->head);
}

static void check_events(const struct model *m)
{
    struct evm_events want = {0};
    for (int64_t number = 0; number <= m->head; number++)
        add_events(m, number, &want);
    assert_int_equal(m->event_count, want.count);
    for (size_t i = 0; i < want.count; i++) {
        assert_int_equal(m->events[i].block, want.items[i].block);
        assert_int_equal(m->events[i].log_index, want.items[i].log_index);
        assert_string_equal(m->events[i].block_hash, want.items[i].block_hash);
    }
    evm_events_clear(&want);
}

static void reads_from_the_first_block(void **state)
{
    (void)state;
    struct bench b;
    bench_begin(&b, 5, 8, 50);
    grow(b.model, 3, 0);
    bench_restart(&b);
    struct err err;
    enum follow_progress progress;
    /* The chain has not come to the first block: that is no reorganisation. */
    assert_int_equal(follow_step(b.follow, &progress, &err), -1);
    assert_int_equal(b.model->rollbacks, 0);
    grow(b.model, 4, 2);
    settle(&b);
    check_events(b.model);
    assert_int_equal(b.model->rollbacks, 0);
    bench_end(&b);
}

static void catches_up_in_ranges(void **state)
{
    (void)state;
    static const int64_t limits[] = {0, 1, 3, 7};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct bench b;
        bench_begin(&b, 0, 8, 50);
        for (int k = 0; k < 60; k++)
            grow(b.model, 5, (unsigned)k % 4);
        b.model->range_limit = limits[i];
        bench_restart(&b);
        settle(&b);
        check_events(b.model);
        assert_int_equal(b.model->rollbacks, 0);
        bench_end(&b);
    }
}

static void finds_the_ancestor_at_any_depth(void **state)
{
    (void)state;
    for (int64_t depth = 1; depth < 120; depth += 7) {
        struct bench b;
        bench_begin(&b, 0, 8, 20);
        for (int k = 0; k < 25; k++)
            grow(b.model, 4, 1);
        bench_restart(&b);
        settle(&b);
        reorganise(b.model, depth, depth);
        settle(&b);
        check_events(b.model);
        assert_true(b.model->rollbacks >= 1);
        bench_end(&b);
    }
}

/* Where every block is kept, no block too many is given up. */
static void the_ancestor_is_the_nearest(void **state)
{
    (void)state;
    for (int64_t depth = 1; depth < 60; depth++) {
        struct bench b;
        struct err err;
        enum follow_progress progress = FOLLOW_CURRENT;
        bench_begin(&b, 0, 100, 20);
        grow(b.model, 60, 1);
        bench_restart(&b);
        settle(&b);
        reorganise(b.model, depth, depth + 1);
        assert_int_equal(follow_step(b.follow, &progress, &err), 0);
        assert_int_equal(progress, FOLLOW_ROLLED_BACK);
        assert_int_equal(b.model->cursor.number, 60 - depth);
        bench_end(&b);
    }
}

static void a_node_that_lags_takes_nothing_back(void **state)
{
    (void)state;
    struct bench b;
    struct err err;
    enum follow_progress progress;
    bench_begin(&b, 0, 8, 20);
    grow(b.model, 20, 3);
    bench_restart(&b);
    settle(&b);
    b.model->head -= 5;
    assert_int_equal(follow_step(b.follow, &progress, &err), -1);
    assert_int_equal(b.model->rollbacks, 0);
    assert_int_equal(b.model->cursor.number, 20);
    b.model->head += 5;
    settle(&b);
    /* A shorter chain of other blocks does. */
    reorganise(b.model, 6, 2);
    settle(&b);
    assert_int_equal(b.model->rollbacks, 1);
    check_events(b.model);
    bench_end(&b);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void disturb(struct model *m, uint32_t *seed)
{
    switch (next_random(seed) % 6) {
    case 0:
        reorganise(m, next_random(seed) % 40, next_random(seed) % 45);
        break;
    case 1:
        m->fail_in = 1 + (int)(next_random(seed) % 20);
        break;
    case 2:
        m->change_in = 1 + next_random(seed) % 9;
        m->change_depth = 1 + next_random(seed) % 30;
        break;
    case 3:
        m->range_limit = next_random(seed) % 9;
        break;
    default:
        grow(m, 1 + next_random(seed) % 12, next_random(seed) % 4);
        break;
    }
}

static void whatever_happens_the_store_ends_as_the_chain(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 300; seed++) {
        struct bench b;
        uint32_t random = seed * 2654435761u;
        bench_begin(&b, seed % 7, 1 + seed % 9, 1 + seed % 30);
        grow(b.model, 10, 2);
        bench_restart(&b);
        for (int round = 0; round < 40; round++) {
            struct err err;
            enum follow_progress progress;
            disturb(b.model, &random);
            for (uint32_t steps = next_random(&random) % 6; steps > 0; steps--) {
                if (follow_step(b.follow, &progress, &err) != 0)
                    bench_restart(&b);
            }
        }
        b.model->fail_in = 0;
        b.model->change_in = 0;
        grow(b.model, 60, 1);
        if (b.model->head < b.model->cursor.number)
            reorganise(b.model, 1, BLOCKS);
        settle(&b);
        check_events(b.model);
        bench_end(&b);
    }
}

static void many_events_are_read_in_short_steps(void **state)
{
    (void)state;
    struct bench b;
    bench_begin(&b, 0, 8, 200);
    for (int k = 0; k < 30; k++)
        grow(b.model, 2, 60);
    grow(b.model, 10, 0);
    bench_restart(&b);
    settle(&b);
    check_events(b.model);
    assert_int_equal(b.model->event_count, 1800);
    assert_in_range(b.model->largest, 1, 500);
    bench_end(&b);
}

static void crowded_blocks_of_the_tail_are_read_in_short_steps(void **state)
{
    (void)state;
    struct bench b;
    bench_begin(&b, 0, 8, 200);
    grow(b.model, 20, 0);
    bench_restart(&b);
    settle(&b);
    for (int k = 0; k < 4; k++)
        grow(b.model, 1, 501);
    settle(&b);
    check_events(b.model);
    assert_int_equal(b.model->largest, 501);
    bench_end(&b);
}

/* Several blocks in a row that are told of only after some tries held up the reading for good. */
static void stubborn_blocks_are_passed_one_after_the_other(void **state)
{
    (void)state;
    struct bench b;
    bench_begin(&b, 0, 8, 200);
    grow(b.model, 20, 0);
    bench_restart(&b);
    settle(&b);
    b.model->stubborn = b.model->head + 1;
    grow(b.model, 6, 2);
    settle(&b);
    check_events(b.model);
    bench_end(&b);
}

static void a_tag_of_another_chain_confirms_nothing(void **state)
{
    (void)state;
    for (int64_t calls = 1; calls < 24; calls++) {
        struct bench b;
        bench_begin(&b, 0, 8, 50);
        b.chain.ceiling = on_ceiling;
        grow(b.model, 6, 2);
        b.model->change_depth = 3;
        bench_restart(&b);
        b.model->change_in = calls;
        settle(&b);
        b.model->change_in = calls % 4 + 1;
        settle(&b);
        settle(&b);
        check_events(b.model);
        bench_end(&b);
    }
}

/* It has blocks of our numbers, of any depth and length, and none of ours. */
static void another_chain_takes_nothing_back(void **state)
{
    (void)state;
    for (int64_t blocks = 1; blocks < 60; blocks++) {
        struct bench b;
        bench_begin(&b, 0, 8, 50);
        for (int k = 0; k < 10; k++)
            grow(b.model, 3, 1);
        bench_restart(&b);
        settle(&b);
        int64_t at = b.model->cursor.number;
        b.model->foreign = true;
        reorganise(b.model, BLOCKS, blocks);
        for (int k = 0; k < 20; k++) {
            struct err err;
            enum follow_progress progress;
            assert_int_equal(follow_step(b.follow, &progress, &err), -1);
            bench_restart(&b);
        }
        assert_int_equal(b.model->rollbacks, 0);
        assert_int_equal(b.model->cursor.number, at);
        b.model->foreign = false;
        grow(b.model, 60 - blocks, 1);
        settle(&b);
        assert_int_equal(b.model->rollbacks, 1);
        check_events(b.model);
        bench_end(&b);
    }
}

/* The other chain answers from one call to another of a step: no more is taken back than has left.
 */
static void another_chain_for_a_moment_takes_nothing_more_back(void **state)
{
    (void)state;
    for (int64_t from = 1; from < 12; from++) {
        for (int64_t to = from + 1; to < 14; to++) {
            struct bench b;
            bench_begin(&b, 0, 8, 50);
            for (int k = 0; k < 20; k++)
                grow(b.model, 3, 1);
            bench_restart(&b);
            settle(&b);
            reorganise(b.model, 3, 4);
            b.model->stray_from = from;
            b.model->stray_to = to;
            struct err err;
            enum follow_progress progress;
            if (follow_step(b.follow, &progress, &err) == 0 && b.model->rollbacks > 0)
                assert_in_range(b.model->cursor.number, 55, 57);
            bench_end(&b);
        }
    }
}

static void what_was_wrong_is_read_again(void **state)
{
    (void)state;
    for (int64_t at = 2; at <= 40; at++) {
        struct bench b;
        bench_begin(&b, 2, 8, 50);
        for (int k = 0; k < 20; k++)
            grow(b.model, 2, 2);
        b.model->chain[at].events++;
        bench_restart(&b);
        settle(&b);
        b.model->chain[at].events--;
        assert_int_equal(follow_forget(b.follow, b.model->head + 1, NULL), 0);
        assert_int_equal(b.model->rollbacks, 0);
        assert_int_equal(follow_forget(b.follow, at, NULL), 0);
        assert_int_equal(b.model->rollbacks, 1);
        assert_in_range(follow_at(b.follow)->number, 1, at - 1);
        settle(&b);
        check_events(b.model);
        bench_end(&b);
    }
}

/* A node that tells other things of a range than of a block would be read again and again. */
static void what_was_wrong_in_a_range_is_read_one_by_one(void **state)
{
    (void)state;
    struct bench b;
    bench_begin(&b, 2, 8, 50);
    for (int k = 0; k < 20; k++)
        grow(b.model, 2, 2);
    b.model->ranges_empty = true;
    bench_restart(&b);
    settle(&b);
    assert_int_equal(follow_forget(b.follow, 3, NULL), 0);
    settle(&b);
    bool found = false;
    for (size_t i = 0; i < b.model->event_count; i++)
        found = found || b.model->events[i].block == 3;
    assert_true(found);
    bench_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_from_the_first_block),
        cmocka_unit_test(catches_up_in_ranges),
        cmocka_unit_test(finds_the_ancestor_at_any_depth),
        cmocka_unit_test(the_ancestor_is_the_nearest),
        cmocka_unit_test(a_node_that_lags_takes_nothing_back),
        cmocka_unit_test(many_events_are_read_in_short_steps),
        cmocka_unit_test(crowded_blocks_of_the_tail_are_read_in_short_steps),
        cmocka_unit_test(stubborn_blocks_are_passed_one_after_the_other),
        cmocka_unit_test(a_tag_of_another_chain_confirms_nothing),
        cmocka_unit_test(another_chain_takes_nothing_back),
        cmocka_unit_test(another_chain_for_a_moment_takes_nothing_more_back),
        cmocka_unit_test(what_was_wrong_is_read_again),
        cmocka_unit_test(what_was_wrong_in_a_range_is_read_one_by_one),
        cmocka_unit_test(whatever_happens_the_store_ends_as_the_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
