/* The threads that ask. A head counts only once its endpoint has shown the block and its parent; an
 * endpoint counts as down after it failed twice in a row, and as up before it was asked at all. */
#include "services/payd/witness.h"

#include "services/payd/gauges.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define ASK_MS       300 /* longest that a step waits for the others */
#define ASLEEP_MS    200 /* look again whether a closed door may be tried */
#define FAILURES_MAX 2

_Static_assert(CLAIM_BLOCKS *LOGS_CALLS <= JSONRPC_BATCH_MAX, "a claim is asked in one batch");

struct seat {
    struct witness *witness;
    size_t index;
    pthread_t thread;
    struct rpc *rpc;
    struct logs *logs;
    /* Under the lock. */
    struct agree_voice voice;
    unsigned failures;
    bool due; /* the question is to be put to it */
    int64_t lacks_since, lacks_last;
};

struct witness {
    struct witness_options options;
    struct seat *seats;
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a question, an answer, or the end */
    struct claim question;
};

/* What one turn asks and hears. */
struct turn {
    struct claim question; /* count 0: none */
    bool show;             /* the head is to be shown */
    struct evm_block head;
    bool shown;
    enum agree_word word;
    size_t differs; /* as agree.h has them */
    uint8_t said[CLAIM_DIGEST];
};

static json_t *block_params(int64_t number)
{
    return json_pack("[o, b]", evm_block_name(number), 0);
}

static int word_read(const json_t *json, struct turn *turn, struct err *err)
{
    const struct follow_cursor *asked = claim_newest(&turn->question);
    struct evm_block block;
    turn->word = AGREE_LACKS;
    if (json_is_null(json))
        return 0;
    if (evm_block_parse(json, &block, err) != 0)
        return -1;
    if (block.number != asked->number)
        return err_set(err, "another block than the one asked for");
    turn->word = strcmp(block.hash, asked->hash) == 0 ? AGREE_SAME : AGREE_OTHER;
    return 0;
}

static int head_ask(struct seat *seat, struct turn *turn, struct err *err)
{
    AUTO_JSON json_t *latest = block_params(-1);
    bool any = turn->question.count > 0;
    AUTO_JSON json_t *asked = block_params(any ? claim_newest(&turn->question)->number : -1);
    const struct jsonrpc_call calls[] = {{"eth_getBlockByNumber", latest},
                                         {"eth_getBlockByNumber", asked}};
    json_t *results[2] = {NULL, NULL};
    enum rpc_fault fault;
    size_t count = any ? 2 : 1;
    int rc = rpc_batch(seat->rpc, calls, count, results, &fault, err);
    if (rc == 0)
        rc = evm_block_parse(results[0], &turn->head, err);
    if (rc == 0 && count == 2)
        rc = word_read(results[1], turn, err);
    for (size_t i = 0; i < count; i++)
        json_decref(results[i]);
    return rc;
}

/* Whoever is told of a crowd of transfers need not have found them in what another could be told.
 */
static bool events_same(const struct claim_block *block, const struct evm_events *events,
                        size_t own_count, bool transfers, uint8_t said[CLAIM_DIGEST])
{
    uint8_t own[CLAIM_DIGEST];
    claim_digest(events->items, events->count, transfers, said);
    claim_digest(events->items, events->count, false, own);
    if (memcmp(said, transfers ? block->digest : block->own, CLAIM_DIGEST) == 0)
        return true;
    return events->count - own_count > CLAIM_EVENTS && memcmp(own, block->own, CLAIM_DIGEST) == 0;
}

/* Whether what it says of block i is what we hold. */
static int events_compare(struct seat *seat, struct turn *turn, size_t i, json_t *const *results,
                          size_t count, bool transfers, struct err *err)
{
    const struct claim_block *block = &turn->question.blocks[i];
    AUTO_EVM_EVENTS struct evm_events events = {0};
    size_t own;
    if (logs_read(seat->logs, results, count, &events, &own, err) != 0)
        return -1;
    for (size_t k = 0; k < events.count; k++) {
        if (strcmp(events.items[k].block_hash, block->at.hash) != 0)
            return err_set(err, "events of another block than the one asked for");
    }
    if (events_same(block, &events, own, transfers, turn->said))
        return 0;
    turn->word = AGREE_EVENTS;
    turn->differs = i;
    return 0;
}

/* One batch, after it has shown that it has the blocks: by hash, because by number a node may
 * answer with another block's events, or with none. */
static int events_batch(struct seat *seat, struct turn *turn, bool transfers, enum rpc_fault *fault,
                        struct err *err)
{
    struct jsonrpc_call calls[CLAIM_BLOCKS * LOGS_CALLS] = {{0}};
    json_t *results[CLAIM_BLOCKS * LOGS_CALLS] = {NULL};
    size_t count = 0, each = 0;
    for (size_t i = 0; i < turn->question.count; i++) {
        AUTO_JSON json_t *range = json_pack("{s:s}", "blockHash", turn->question.blocks[i].at.hash);
        each = logs_ask(seat->logs, range, transfers, &calls[count]);
        count += each;
    }
    int rc = rpc_batch(seat->rpc, calls, count, results, fault, err);
    if (rc == 0 && logs_too_many(seat->logs, results, count)) {
        *fault = RPC_TOO_LARGE;
        rc = err_set(err, "more events than can be read");
    }
    for (size_t i = 0; rc == 0 && turn->word == AGREE_SAME && i < turn->question.count; i++)
        rc = events_compare(seat, turn, i, &results[i * each], each, transfers, err);
    for (size_t i = 0; i < count; i++) {
        json_decref(calls[i].params);
        json_decref(results[i]);
    }
    return rc;
}

/* Anybody can fill a block with transfers, and a token's owner can change what it emits: who cannot
 * tell of them is asked about our contract's events alone, or everybody would count as down. */
static int events_ask(struct seat *seat, struct turn *turn, struct err *err)
{
    enum rpc_fault fault = RPC_NONE;
    if (events_batch(seat, turn, true, &fault, err) == 0)
        return 0;
    if (fault == RPC_AWAY)
        return -1;
    return events_batch(seat, turn, false, &fault, err);
}

/* A reorganisation in between looks the same as a lie: then it is not shown, this time. */
static int head_show(struct seat *seat, struct turn *turn, struct err *err)
{
    AUTO_JSON json_t *result = NULL;
    struct evm_block parent;
    enum rpc_fault fault;
    if (turn->head.number == 0) {
        turn->shown = true;
        return 0;
    }
    if (rpc_call(seat->rpc, "eth_getBlockByNumber", block_params(turn->head.number - 1), &result,
                 &fault, err) != 0)
        return -1;
    if (json_is_null(result))
        return err_set(err, "a head above a block that it does not have");
    if (evm_block_parse(result, &parent, err) != 0)
        return -1;
    turn->shown =
        parent.number == turn->head.number - 1 && strcmp(parent.hash, turn->head.parent) == 0;
    return 0;
}

/* Under the lock. */
static void gauges_set(struct seat *seat)
{
    struct witness *witness = seat->witness;
    struct agree_voice voices[AGREE_VOICES];
    const char *const labels[] = {rpc_endpoint_name(seat->rpc, 0)};
    for (size_t i = 0; i < witness->options.rpc.count; i++)
        voices[i] = witness->seats[i].voice;
    int64_t best = agree_head(voices, witness->options.rpc.count), head = seat->voice.head;
    struct metrics *metrics = witness->options.metrics;
    metric_set(metrics_cell(metrics, GAUGES_ENDPOINT_UP, labels), seat->voice.up);
    metric_set(metrics_cell(metrics, GAUGES_ENDPOINT_HEAD, labels), head);
    metric_set(metrics_cell(metrics, GAUGES_ENDPOINT_LAG, labels),
               best > head && head >= 0 ? best - head : 0);
}

static void lacks_count(struct seat *seat, int64_t now)
{
    if (now - seat->lacks_last > seat->witness->options.wait_ms)
        seat->lacks_since = now;
    seat->lacks_last = now;
    seat->voice.lacks_ms = now - seat->lacks_since;
}

static void word_keep(struct seat *seat, const struct turn *turn, int64_t now)
{
    if (turn->question.count == 0 || !claim_same(&seat->witness->question, &turn->question))
        return;
    seat->voice.word = turn->word;
    seat->voice.differs = turn->differs;
    memcpy(seat->voice.said, turn->said, sizeof(seat->voice.said));
    if (turn->word == AGREE_LACKS)
        lacks_count(seat, now);
    else
        seat->lacks_last = INT64_MIN / 2;
}

static void outcome_keep(struct seat *seat, const struct turn *turn, bool answered)
{
    struct witness *witness = seat->witness;
    int64_t now = clock_mono_ms(witness->options.rpc.clock);
    pthread_mutex_lock(&witness->lock);
    seat->failures = answered ? 0 : seat->failures + 1;
    seat->voice.up = seat->failures < FAILURES_MAX;
    if (answered) {
        seat->voice.said_head = turn->head.number;
        if (turn->shown || turn->head.number == seat->voice.head + 1)
            seat->voice.head = turn->head.number;
        word_keep(seat, turn, now);
    }
    gauges_set(seat);
    pthread_cond_broadcast(&witness->changed);
    pthread_mutex_unlock(&witness->lock);
}

static void seat_ask(struct seat *seat, struct turn *turn)
{
    struct err err = {{0}};
    rpc_step(seat->rpc);
    bool answered =
        head_ask(seat, turn, &err) == 0 && (!turn->show || head_show(seat, turn, &err) == 0);
    if (answered && turn->question.count > 0 && turn->word == AGREE_SAME)
        answered = events_ask(seat, turn, &err) == 0;
    if (answered)
        rpc_trust(seat->rpc);
    else
        rpc_distrust(seat->rpc, err.msg);
    if (!atomic_load(&seat->witness->stop))
        outcome_keep(seat, turn, answered);
}

static void wait_changed(struct witness *witness, int64_t until_ms)
{
    struct timespec at = {until_ms / 1000, until_ms % 1000 * 1000000};
    pthread_cond_timedwait(&witness->changed, &witness->lock, &at);
}

/* false: the end. */
static bool seat_wait(struct seat *seat, int64_t head_at, struct turn *turn)
{
    struct witness *witness = seat->witness;
    const struct clock *clock = witness->options.rpc.clock;
    pthread_mutex_lock(&witness->lock);
    while (!atomic_load(&witness->stop)) {
        int64_t now = clock_mono_ms(clock);
        bool asleep = rpc_breaker(seat->rpc, 0) == BREAKER_OPEN;
        if (!asleep && (seat->due || now >= head_at))
            break;
        wait_changed(witness, asleep ? now + ASLEEP_MS : head_at);
    }
    *turn = (struct turn){.word = AGREE_SILENT};
    turn->show = clock_mono_ms(clock) >= head_at;
    if (seat->due)
        turn->question = witness->question;
    seat->due = false;
    pthread_mutex_unlock(&witness->lock);
    return !atomic_load(&witness->stop);
}

static void *seat_main(void *ctx)
{
    struct seat *seat = ctx;
    const struct witness_options *options = &seat->witness->options;
    int64_t head_at = 0;
    struct turn turn;
    while (seat_wait(seat, head_at, &turn)) {
        if (turn.show)
            head_at = clock_mono_ms(options->rpc.clock) + options->head_every_ms;
        seat_ask(seat, &turn);
    }
    return NULL;
}

static void seat_start(struct witness *witness, size_t i)
{
    struct seat *seat = &witness->seats[i];
    struct rpc_options rpc = witness->options.rpc;
    rpc.endpoints += i;
    rpc.count = 1;
    rpc.quiet = true;
    rpc.stop = &witness->stop;
    rpc.observe = gauges_call;
    rpc.ctx = witness->options.metrics;
    seat->witness = witness;
    seat->index = i;
    seat->rpc = rpc_new(&rpc);
    seat->logs = logs_new(&witness->options.logs);
    seat->voice = (struct agree_voice){.up = true, .said_head = -1, .head = -1};
    seat->lacks_last = INT64_MIN / 2;
}

struct witness *witness_start(const struct witness_options *options)
{
    struct witness *witness = mem_zalloc(sizeof(*witness));
    pthread_condattr_t attr;
    witness->options = *options;
    pthread_mutex_init(&witness->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&witness->changed, &attr);
    pthread_condattr_destroy(&attr);
    witness->seats = mem_array(options->rpc.count, sizeof(*witness->seats));
    for (size_t i = 0; i < options->rpc.count; i++)
        seat_start(witness, i);
    for (size_t i = 0; i < options->rpc.count; i++) {
        if (pthread_create(&witness->seats[i].thread, NULL, seat_main, &witness->seats[i]) != 0)
            abort();
    }
    return witness;
}

void witness_join(struct witness **witness_ptr)
{
    struct witness *witness = *witness_ptr;
    *witness_ptr = NULL;
    if (witness == NULL)
        return;
    pthread_mutex_lock(&witness->lock);
    atomic_store(&witness->stop, true);
    pthread_cond_broadcast(&witness->changed);
    pthread_mutex_unlock(&witness->lock);
    for (size_t i = 0; i < witness->options.rpc.count; i++)
        pthread_join(witness->seats[i].thread, NULL);
    for (size_t i = 0; i < witness->options.rpc.count; i++) {
        rpc_free(&witness->seats[i].rpc);
        logs_free(&witness->seats[i].logs);
    }
    pthread_cond_destroy(&witness->changed);
    pthread_mutex_destroy(&witness->lock);
    free(witness->seats);
    free(witness);
}

/* Under the lock. */
static void question_put(struct witness *witness, const struct claim *claim)
{
    bool same = claim_same(&witness->question, claim);
    witness->question = *claim;
    for (size_t i = 0; i < witness->options.rpc.count; i++) {
        struct seat *seat = &witness->seats[i];
        if (!same)
            seat->voice.word = AGREE_SILENT;
        seat->due = true;
    }
    pthread_cond_broadcast(&witness->changed);
}

static bool all_said(const struct witness *witness)
{
    for (size_t i = 0; i < witness->options.rpc.count; i++) {
        const struct seat *seat = &witness->seats[i];
        if (seat->voice.up && (seat->due || seat->voice.word == AGREE_SILENT))
            return false;
    }
    return true;
}

void witness_ask(struct witness *witness, const struct claim *claim, struct agree_voice *voices)
{
    const struct clock *clock = witness->options.rpc.clock;
    int64_t until = clock_mono_ms(clock) + ASK_MS;
    pthread_mutex_lock(&witness->lock);
    question_put(witness, claim);
    while (!all_said(witness) && clock_mono_ms(clock) < until)
        wait_changed(witness, until);
    for (size_t i = 0; i < witness->options.rpc.count; i++)
        voices[i] = witness->seats[i].voice;
    pthread_mutex_unlock(&witness->lock);
}

bool witness_behind(struct witness *witness, size_t endpoint)
{
    struct agree_voice voices[AGREE_VOICES];
    size_t count = witness->options.rpc.count;
    pthread_mutex_lock(&witness->lock);
    for (size_t i = 0; i < count; i++)
        voices[i] = witness->seats[i].voice;
    pthread_mutex_unlock(&witness->lock);
    return agree_behind(&voices[endpoint], agree_head(voices, count), witness->options.max_lag);
}

void witness_contradicting(struct witness *witness, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    pthread_mutex_lock(&witness->lock);
    for (size_t i = 0; i < witness->options.rpc.count; i++) {
        const struct seat *seat = &witness->seats[i];
        bool other = seat->voice.word == AGREE_OTHER || seat->voice.word == AGREE_EVENTS;
        if (!seat->voice.up || !other || len >= size)
            continue;
        len += (size_t)snprintf(out + len, size - len, "%s%s", len == 0 ? "" : ", ",
                                rpc_endpoint_name(seat->rpc, 0));
    }
    pthread_mutex_unlock(&witness->lock);
}
