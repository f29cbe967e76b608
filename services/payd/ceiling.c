/* A question stands until it is answered, so that slow endpoints keep up with a fast chain; only
 * where one lacks the block the question falls back to older ones. What was agreed on waits no
 * more: only what leaves the chain and comes back is asked for again. A step's own new blocks are
 * above its ceiling: their payments are confirmed by the next step. */
#include "services/payd/ceiling.h"

#include "libcommon/mem.h"

#include <string.h>

struct ceiling {
    struct ceiling_options options;
    struct follow_chain view;
    int64_t at;   /* where the step begins */
    int64_t head; /* of the followed endpoint */
    struct claim question;
    struct ceiling_state state;
    /* Confirmed payments stand on it, and one endpoint has another block; hash "": none. */
    struct follow_cursor disputed;
    bool left[AGREE_VOICES]; /* who has */
};

static int on_latest(void *ctx, struct evm_block *out, struct err *err)
{
    struct ceiling *ceiling = ctx;
    const struct follow_chain *chain = ceiling->options.chain;
    if (chain->latest(chain->ctx, out, err) != 0)
        return -1;
    ceiling->head = out->number;
    return 0;
}

static int on_block(void *ctx, int64_t number, struct evm_block *out, bool *found, struct err *err)
{
    const struct follow_chain *chain = ((struct ceiling *)ctx)->options.chain;
    return chain->block(chain->ctx, number, out, found, err);
}

static int on_events_of(void *ctx, const char *block_hash, struct evm_events *out, struct err *err)
{
    const struct follow_chain *chain = ((struct ceiling *)ctx)->options.chain;
    return chain->events_of(chain->ctx, block_hash, out, err);
}

static int on_events_in(void *ctx, int64_t from, int64_t to, struct evm_events *out, bool *too_much,
                        struct err *err)
{
    const struct follow_chain *chain = ((struct ceiling *)ctx)->options.chain;
    return chain->events_in(chain->ctx, from, to, out, too_much, err);
}

static int on_ours(void *ctx, struct err *err)
{
    const struct follow_chain *chain = ((struct ceiling *)ctx)->options.chain;
    return chain->ours == NULL ? 0 : chain->ours(chain->ctx, err);
}

static int64_t on_range(void *ctx)
{
    const struct follow_chain *chain = ((struct ceiling *)ctx)->options.chain;
    return chain->range == NULL ? INT64_MAX : chain->range(chain->ctx);
}

/* The highest block that could be confirmed now if everybody agreed. */
static int highest(struct ceiling *ceiling, int64_t *out, struct err *err)
{
    const struct ceiling_options *options = &ceiling->options;
    int64_t tagged = INT64_MAX, deep = ceiling->head - options->confirmations;
    if (options->chain->ceiling != NULL &&
        options->chain->ceiling(options->chain->ctx, &tagged, err) != 0)
        return -1;
    *out = ceiling->at;
    if (!options->by_time && deep < *out)
        *out = deep;
    if (tagged < *out)
        *out = tagged;
    return 0;
}

static int waiting(struct ceiling *ceiling, int64_t at_most, struct claim *out, struct err *err)
{
    return ceiling->options.waiting(ceiling->options.ctx, at_most, out, err);
}

/* Where one lacks the block, the next question is about what it may have. */
static int fall_back(struct ceiling *ceiling, const struct agree_voice *voices, struct err *err)
{
    int64_t lowest = claim_newest(&ceiling->question)->number - 1;
    bool lacks = false;
    for (size_t i = 0; i < ceiling->options.voices; i++) {
        if (!voices[i].up || voices[i].word != AGREE_LACKS)
            continue;
        lacks = true;
        if (voices[i].said_head < lowest)
            lowest = voices[i].said_head;
    }
    if (!lacks || lowest < ceiling->question.blocks[0].at.number)
        return 0;
    return waiting(ceiling, lowest, &ceiling->question, err);
}

/* Blocks of a chain come before events in them. */
static struct ceiling_state state_of(const struct ceiling *ceiling,
                                     const struct agree_voice *voices)
{
    const struct claim *question = &ceiling->question;
    struct ceiling_state state = {.block = *claim_newest(question)};
    state.verdict = agree_judge(voices, ceiling->options.voices, ceiling->options.wait_ms);
    for (size_t i = 0; i < ceiling->options.voices; i++) {
        if (!voices[i].up)
            continue;
        if (voices[i].word == AGREE_OTHER)
            return (struct ceiling_state){state.verdict, *claim_newest(question), false};
        if (voices[i].word != AGREE_EVENTS || voices[i].differs >= question->count)
            continue;
        const struct follow_cursor *block = &question->blocks[voices[i].differs].at;
        if (!state.events || block->number < state.block.number)
            state.block = *block;
        state.events = true;
    }
    return state;
}

/* *clear: what waits above it is not agreed on. */
static int question_ask(struct ceiling *ceiling, int64_t *clear, struct err *err)
{
    struct agree_voice voices[AGREE_VOICES];
    *clear = ceiling->question.blocks[0].at.number - 1;
    ceiling->options.ask(ceiling->options.ctx, &ceiling->question, voices);
    ceiling->state = state_of(ceiling, voices);
    switch (ceiling->state.verdict) {
    case AGREE_YES:
        *clear = claim_newest(&ceiling->question)->number;
        ceiling->question.count = 0;
        return ceiling->options.agreed(ceiling->options.ctx, *clear, err);
    case AGREE_NO:
        return 0;
    case AGREE_WRONG:
        ceiling->question.count = 0;
        return 0;
    case AGREE_WAIT:
        return fall_back(ceiling, voices, err);
    }
    return 0;
}

static void undisputed(struct ceiling *ceiling)
{
    ceiling->disputed = (struct follow_cursor){.number = 0};
    memset(ceiling->left, 0, sizeof(ceiling->left));
}

static void block_ask(struct ceiling *ceiling, const struct follow_cursor *block,
                      struct agree_voice *voices)
{
    const struct claim claim = {.count = 1, .blocks = {{.at = *block}}};
    ceiling->question.count = 0;
    ceiling->options.ask(ceiling->options.ctx, &claim, voices);
    for (size_t i = 0; i < ceiling->options.voices; i++)
        ceiling->left[i] = voices[i].up && voices[i].word == AGREE_OTHER;
}

/* What was confirmed is not taken back by one endpoint's word while as many others have the block:
 * that one is left, and whoever is followed next holds what we hold. */
static int on_gone(void *ctx, const struct follow_cursor *block, int64_t to, struct err *err)
{
    struct ceiling *ceiling = ctx;
    const struct ceiling_options *options = &ceiling->options;
    struct agree_voice voices[AGREE_VOICES];
    bool any;
    if (options->closed(options->ctx, to, &any, err) != 0)
        return -1;
    if (!any)
        return 0;
    block_ask(ceiling, block, voices);
    enum agree_verdict verdict = agree_gone(voices, options->voices, options->wait_ms);
    if (verdict == AGREE_YES) {
        undisputed(ceiling);
        return 0;
    }
    if (verdict == AGREE_NO)
        ceiling->disputed = *block;
    return err_set(err,
                   verdict == AGREE_NO
                       ? "confirmed payments would be taken back, and others have block %lld still"
                       : "confirmed payments would be taken back: others are asked for block %lld",
                   (long long)block->number);
}

/* As long as an endpoint has another block than that, nothing is confirmed above it. */
static bool still_disputed(struct ceiling *ceiling, int64_t *number)
{
    struct agree_voice voices[AGREE_VOICES];
    if (ceiling->disputed.hash[0] == '\0')
        return false;
    block_ask(ceiling, &ceiling->disputed, voices);
    enum agree_verdict verdict =
        agree_there(voices, ceiling->options.voices, ceiling->options.wait_ms);
    if (verdict == AGREE_YES) {
        undisputed(ceiling);
        return false;
    }
    if (verdict == AGREE_NO)
        ceiling->state = (struct ceiling_state){.verdict = AGREE_NO, .block = ceiling->disputed};
    if (ceiling->disputed.number <= *number)
        *number = ceiling->disputed.number - 1;
    return true;
}

static int on_ceiling(void *ctx, int64_t *number, struct err *err)
{
    struct ceiling *ceiling = ctx;
    struct claim *question = &ceiling->question;
    int64_t clear;
    if (highest(ceiling, number, err) != 0)
        return -1;
    if (still_disputed(ceiling, number))
        return 0;
    if ((question->count == 0 || claim_newest(question)->number > *number) &&
        waiting(ceiling, *number, question, err) != 0)
        return -1;
    if (question->count == 0) {
        ceiling->state = (struct ceiling_state){.verdict = AGREE_YES};
        return 0;
    }
    if (question_ask(ceiling, &clear, err) != 0)
        return -1;
    if (clear < *number)
        *number = clear;
    return 0;
}

struct ceiling *ceiling_new(const struct ceiling_options *options)
{
    struct ceiling *ceiling = mem_zalloc(sizeof(*ceiling));
    ceiling->options = *options;
    ceiling->state.verdict = AGREE_YES;
    ceiling->view = (struct follow_chain){
        .ctx = ceiling,
        .latest = on_latest,
        .ceiling = on_ceiling,
        .block = on_block,
        .events_of = on_events_of,
        .events_in = on_events_in,
        .ours = on_ours,
        .gone = on_gone,
        .range = on_range,
    };
    return ceiling;
}

void ceiling_free(struct ceiling **ceiling)
{
    free(*ceiling);
    *ceiling = NULL;
}

const struct follow_chain *ceiling_view(struct ceiling *ceiling)
{
    return &ceiling->view;
}

void ceiling_begin(struct ceiling *ceiling, int64_t at)
{
    ceiling->at = at;
    /* Said once: by now it is being read again. */
    if (ceiling->state.verdict == AGREE_WRONG)
        ceiling->state.verdict = AGREE_WAIT;
    if (at < ceiling->disputed.number)
        undisputed(ceiling);
    if (ceiling->question.count > 0 && at < claim_newest(&ceiling->question)->number)
        ceiling->question.count = 0;
}

bool ceiling_left(const struct ceiling *ceiling, size_t endpoint)
{
    return ceiling->disputed.hash[0] != '\0' && ceiling->left[endpoint];
}

struct ceiling_state ceiling_state(const struct ceiling *ceiling)
{
    return ceiling->state;
}
