/* Nothing is believed that is not of our chain: a block of ours at or above the range is read
 * before and after it. What only one endpoint tells of is not added, or a single liar could add
 * what it likes: the look stands before it, and tells, until all say the same. */
#include "services/payd/look.h"

#include "libcommon/log.h"
#include "services/payd/chain.h"
#include "services/payd/claim.h"
#include "services/payd/gauges.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ACQUIRE_MS 1000
#define SHORT_MAX  16 /* blocks in which something is missing, of one look */
#define SEVERAL    4  /* a quarter of `behind` comes together before it is worth a question */

/* One endpoint. */
struct eye {
    struct rpc *rpc;
    struct chain *chain;
};

struct look {
    struct look_options options;
    struct eye *eyes;
    pthread_t thread;
    atomic_bool stop;
    atomic_int followed;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock. */
    struct late found; /* a turn's, while it is due to be written */
    bool due;
    char disputed[LOOK_DETAIL];
};

/* One look. */
struct turn {
    struct look *look;
    size_t by;
    struct late_plan plan;
    struct evm_events seen; /* in its range */
    struct late found;
    char disputed[LOOK_DETAIL];
};

static void turn_clear(struct turn *turn)
{
    evm_events_clear(&turn->seen);
    late_clear(&turn->found);
}

static const struct follow_chain *sight(const struct turn *turn, size_t endpoint)
{
    return chain_view(turn->look->eyes[endpoint].chain);
}

static const char *name_of(const struct look *look, size_t endpoint)
{
    return rpc_endpoint_name(look->eyes[endpoint].rpc, 0);
}

static int block_is(const struct turn *turn, int64_t number, const char *hash,
                    struct evm_block *out, struct err *err)
{
    const struct follow_chain *chain = sight(turn, turn->by);
    bool found;
    if (chain->block(chain->ctx, number, out, &found, err) != 0)
        return -1;
    if (!found || out->number != number || strcmp(out->hash, hash) != 0)
        return err_set(err, "%s does not have our block %lld", name_of(turn->look, turn->by),
                       (long long)number);
    return 0;
}

/* Fewer blocks where the endpoint does not tell of so many. */
static int range_read(struct turn *turn, struct err *err)
{
    const struct follow_chain *chain = sight(turn, turn->by);
    struct late_plan *plan = &turn->plan;
    int64_t most = chain->range(chain->ctx);
    bool too_much = true;
    if (plan->to - plan->from >= most)
        plan->to = plan->from + most - 1;
    while (chain->events_in(chain->ctx, plan->from, plan->to, &turn->seen, &too_much, err) != 0) {
        if (!too_much || plan->from == plan->to || atomic_load(&turn->look->stop))
            return -1;
        plan->to = plan->from + (plan->to - plan->from) / 2;
    }
    for (size_t i = 0; i < turn->seen.count; i++) {
        int64_t block = turn->seen.items[i].block;
        if (block < plan->from || block > plan->to)
            return err_set(err, "an event of block %lld, which was not asked for",
                           (long long)block);
    }
    return 0;
}

static int events_by(const struct turn *turn, size_t endpoint, const struct evm_block *block,
                     struct evm_events *out, struct err *err)
{
    const struct follow_chain *chain = sight(turn, endpoint);
    if (chain->events_of(chain->ctx, block->hash, out, err) != 0)
        return -1;
    for (size_t i = 0; i < out->count; i++) {
        if (out->items[i].block == block->number &&
            strcmp(out->items[i].block_hash, block->hash) == 0)
            continue;
        evm_events_clear(out);
        return err_set(err, "block %lld: an event of another block", (long long)block->number);
    }
    return 0;
}

static bool same_events(const struct evm_events *a, const struct evm_events *b)
{
    uint8_t x[CLAIM_DIGEST], y[CLAIM_DIGEST];
    claim_digest(a->items, a->count, false, x);
    claim_digest(b->items, b->count, false, y);
    return memcmp(x, y, sizeof(x)) == 0;
}

/* One more must say the same, where there are several, and nobody else: what is added counts as
 * agreed on. Who does not answer contradicts nobody. */
static bool upheld(struct turn *turn, const struct evm_block *block,
                   const struct evm_events *events)
{
    const struct look *look = turn->look;
    size_t same = 0;
    for (size_t i = 0; look->options.others && i < look->options.rpc.count; i++) {
        AUTO_EVM_EVENTS struct evm_events theirs = {0};
        rpc_step(look->eyes[i].rpc);
        if (i == turn->by || events_by(turn, i, block, &theirs, NULL) != 0)
            continue;
        if (same_events(&theirs, events)) {
            same++;
            continue;
        }
        snprintf(turn->disputed, sizeof(turn->disputed),
                 "%s tells of events in block %lld %s that were not read, %s does not",
                 name_of(look, turn->by), (long long)block->number, block->hash, name_of(look, i));
        return false;
    }
    return same > 0 || !look->options.others;
}

/* *end: the look goes no further than before this block. */
static int short_read(struct turn *turn, const struct evm_event *event, bool *end, struct err *err)
{
    struct late *found = &turn->found;
    AUTO_EVM_EVENTS struct evm_events events = {0};
    struct evm_block *block = &found->blocks[found->block_count];
    if (block_is(turn, event->block, event->block_hash, block, err) != 0 ||
        events_by(turn, turn->by, block, &events, err) != 0)
        return -1;
    *end = found->block_count == SHORT_MAX - 1 || !upheld(turn, block, &events);
    if (*end) {
        turn->plan.to = event->block - 1;
        return 0;
    }
    evm_events_append(&found->events, &events);
    found->block_count++;
    return 0;
}

static int shorts_read(struct turn *turn, const bool *missing, struct err *err)
{
    struct late *found = &turn->found;
    bool end = false;
    found->blocks = mem_array(SHORT_MAX, sizeof(*found->blocks));
    for (size_t i = 0; !end && i < turn->seen.count; i++) {
        const struct evm_event *event = &turn->seen.items[i];
        size_t n = found->block_count;
        if (missing[i] && (n == 0 || found->blocks[n - 1].number != event->block) &&
            short_read(turn, event, &end, err) != 0)
            return -1;
    }
    return 0;
}

static int missing_find(struct turn *turn, bool *missing, struct err *err)
{
    const struct look_options *options = &turn->look->options;
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (pg_acquire(options->pg, ACQUIRE_MS, &conn, err) != 0)
        return -1;
    return late_missing(conn, options->follower, options->logs.contract, &turn->seen, missing, err);
}

static int read_by(struct turn *turn, size_t endpoint, struct err *err)
{
    AUTO_FREE bool *missing = NULL;
    struct evm_block frame;
    const struct follow_cursor *ours = &turn->plan.frame;
    turn->by = endpoint;
    rpc_step(turn->look->eyes[endpoint].rpc);
    if (block_is(turn, ours->number, ours->hash, &frame, err) != 0 || range_read(turn, err) != 0)
        return -1;
    missing = mem_array(turn->seen.count + 1, sizeof(*missing));
    if (missing_find(turn, missing, err) != 0 || shorts_read(turn, missing, err) != 0 ||
        block_is(turn, ours->number, ours->hash, &frame, err) != 0)
        return -1;
    rpc_trust(turn->look->eyes[endpoint].rpc);
    return 0;
}

static int plan_make(struct turn *turn, struct err *err)
{
    const struct look_options *options = &turn->look->options;
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (pg_acquire(options->pg, ACQUIRE_MS, &conn, err) != 0)
        return -1;
    return late_next(conn, options->follower, options->behind, options->range,
                     options->behind / SEVERAL + 1, &turn->plan, err);
}

static void wait_ms(struct look *look, int64_t ms)
{
    int64_t until = clock_mono_ms(&clock_system) + ms;
    struct timespec at = {until / 1000, until % 1000 * 1000000};
    pthread_mutex_lock(&look->lock);
    while (!atomic_load(&look->stop) &&
           pthread_cond_timedwait(&look->changed, &look->lock, &at) == 0)
        ;
    pthread_mutex_unlock(&look->lock);
}

/* Waits until the leader has written it. */
static void hand_over(struct turn *turn, int64_t to)
{
    struct look *look = turn->look;
    turn->found.looked = turn->plan.looked;
    turn->found.to = to;
    turn->found.frame = turn->plan.frame;
    pthread_mutex_lock(&look->lock);
    look->found = turn->found;
    look->due = true;
    while (look->due && !atomic_load(&look->stop))
        pthread_cond_wait(&look->changed, &look->lock);
    look->due = false;
    pthread_mutex_unlock(&look->lock);
}

/* It stands no further than what two have read, where there are two: one of them may be who left
 * something out the first time. True: it moved. */
static bool read_by_all(struct turn *turn)
{
    const struct look *look = turn->look;
    int followed = atomic_load(&look->followed);
    size_t wanted = look->options.others ? 2 : 1, have = 0;
    for (size_t i = 0; i < look->options.rpc.count && turn->plan.to >= turn->plan.from; i++) {
        struct err err = {{0}};
        bool asked = look->options.others || (int)i == followed || look->options.rpc.count == 1;
        turn_clear(turn);
        if (atomic_load(&look->stop) || !asked)
            continue;
        if (read_by(turn, i, &err) != 0) {
            log_debug("an endpoint cannot be read a second time", LOG_STR(ERROR, err.msg));
            continue;
        }
        bool enough = ++have == wanted;
        if (enough || turn->found.block_count > 0)
            hand_over(turn, enough ? turn->plan.to : turn->plan.looked);
        if (enough)
            return turn->plan.to > turn->plan.looked;
    }
    return false;
}

static void turn_take(struct look *look)
{
    struct turn turn CLEANUP(turn_clear) = {.look = look};
    bool moved = false, any = plan_make(&turn, NULL) == 0 && turn.plan.to >= turn.plan.from;
    if (any)
        moved = read_by_all(&turn);
    if (moved || turn.disputed[0] != '\0') {
        pthread_mutex_lock(&look->lock);
        memcpy(look->disputed, turn.disputed, sizeof(look->disputed));
        pthread_mutex_unlock(&look->lock);
    }
    if (!moved)
        wait_ms(look, look->options.pause_ms);
}

static void *look_main(void *ctx)
{
    struct look *look = ctx;
    while (!atomic_load(&look->stop))
        turn_take(look);
    return NULL;
}

static void eye_open(struct look *look, size_t i)
{
    struct rpc_options rpc = look->options.rpc;
    rpc.endpoints += i;
    rpc.count = 1;
    rpc.quiet = true;
    rpc.stop = &look->stop;
    rpc.observe = gauges_call;
    rpc.ctx = look->options.metrics;
    look->eyes[i].rpc = rpc_new(&rpc);
    look->eyes[i].chain = chain_new(&(struct chain_options){
        .rpc = look->eyes[i].rpc, .tag = CHAIN_LATEST, .logs = look->options.logs});
}

struct look *look_start(const struct look_options *options)
{
    struct look *look = mem_zalloc(sizeof(*look));
    pthread_condattr_t attr;
    look->options = *options;
    atomic_store(&look->followed, -1);
    pthread_mutex_init(&look->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&look->changed, &attr);
    pthread_condattr_destroy(&attr);
    look->eyes = mem_array(options->rpc.count, sizeof(*look->eyes));
    for (size_t i = 0; i < options->rpc.count; i++)
        eye_open(look, i);
    if (pthread_create(&look->thread, NULL, look_main, look) != 0)
        abort();
    return look;
}

void look_join(struct look **look_ptr)
{
    struct look *look = *look_ptr;
    *look_ptr = NULL;
    if (look == NULL)
        return;
    pthread_mutex_lock(&look->lock);
    atomic_store(&look->stop, true);
    pthread_cond_broadcast(&look->changed);
    pthread_mutex_unlock(&look->lock);
    pthread_join(look->thread, NULL);
    for (size_t i = 0; i < look->options.rpc.count; i++) {
        chain_free(&look->eyes[i].chain);
        rpc_free(&look->eyes[i].rpc);
    }
    pthread_cond_destroy(&look->changed);
    pthread_mutex_destroy(&look->lock);
    free(look->eyes);
    free(look);
}

void look_followed(struct look *look, int endpoint)
{
    if (endpoint >= 0)
        atomic_store(&look->followed, endpoint);
}

const struct late *look_take(struct look *look)
{
    pthread_mutex_lock(&look->lock);
    const struct late *found = look->due ? &look->found : NULL;
    pthread_mutex_unlock(&look->lock);
    return found;
}

void look_done(struct look *look)
{
    pthread_mutex_lock(&look->lock);
    look->due = false;
    pthread_cond_broadcast(&look->changed);
    pthread_mutex_unlock(&look->lock);
}

void look_disputed(struct look *look, char out[LOOK_DETAIL])
{
    pthread_mutex_lock(&look->lock);
    memcpy(out, look->disputed, LOOK_DETAIL);
    pthread_mutex_unlock(&look->lock);
}
