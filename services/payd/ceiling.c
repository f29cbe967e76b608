/* A question stands until it is answered, so that slow endpoints keep up with a fast chain; only
 * where one lacks the block the question falls back to an older one. What was agreed on holds for
 * everything below it, because our own chain is linked, until blocks leave it. A step's own new
 * blocks are above its ceiling: their payments are confirmed by the next step. */
#include "services/payd/ceiling.h"

#include "libcommon/mem.h"

struct ceiling {
    struct ceiling_options options;
    struct follow_chain view;
    int64_t at;                    /* where the step begins */
    int64_t head;                  /* of the followed endpoint */
    int64_t agreed;                /* number of the newest block that all have; -1: none */
    struct follow_cursor question; /* number -1: none */
    enum agree_verdict verdict;
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

static int waiting(struct ceiling *ceiling, int64_t at_most, struct follow_cursor *newest,
                   int64_t *oldest, bool *found, struct err *err)
{
    return ceiling->options.waiting(ceiling->options.ctx, at_most, newest, oldest, found, err);
}

/* Where one lacks the block, the next question is about the newest that it may have. */
static int fall_back(struct ceiling *ceiling, const struct agree_voice *voices, struct err *err)
{
    int64_t lowest = ceiling->question.number - 1, oldest;
    struct follow_cursor older;
    bool lacks = false, found;
    for (size_t i = 0; i < ceiling->options.voices; i++) {
        if (!voices[i].up || voices[i].word != AGREE_LACKS)
            continue;
        lacks = true;
        if (voices[i].said_head < lowest)
            lowest = voices[i].said_head;
    }
    if (!lacks || lowest <= ceiling->agreed)
        return 0;
    if (waiting(ceiling, lowest, &older, &oldest, &found, err) != 0)
        return -1;
    if (found && older.number > ceiling->agreed)
        ceiling->question = older;
    return 0;
}

static int question_ask(struct ceiling *ceiling, struct err *err)
{
    struct agree_voice voices[AGREE_VOICES];
    ceiling->options.ask(ceiling->options.ctx, &ceiling->question, voices);
    ceiling->verdict = agree_judge(voices, ceiling->options.voices, ceiling->options.wait_ms);
    switch (ceiling->verdict) {
    case AGREE_YES:
        ceiling->agreed = ceiling->question.number;
        ceiling->question.number = -1;
        return 0;
    case AGREE_NO:
        return 0;
    case AGREE_WAIT:
        return fall_back(ceiling, voices, err);
    }
    return 0;
}

static int on_ceiling(void *ctx, int64_t *number, struct err *err)
{
    struct ceiling *ceiling = ctx;
    struct follow_cursor newest;
    int64_t oldest;
    bool found;
    if (highest(ceiling, number, err) != 0 ||
        waiting(ceiling, *number, &newest, &oldest, &found, err) != 0)
        return -1;
    if (!found) {
        ceiling->question.number = -1;
        ceiling->verdict = AGREE_YES;
        return 0;
    }
    if (newest.number <= ceiling->agreed) {
        ceiling->verdict = AGREE_YES;
    } else {
        if (ceiling->question.number < 0 || ceiling->question.number > *number)
            ceiling->question = newest;
        if (question_ask(ceiling, err) != 0)
            return -1;
    }
    /* Below the oldest that waits there is nothing to confirm. */
    int64_t clear = oldest - 1 > ceiling->agreed ? oldest - 1 : ceiling->agreed;
    if (clear < *number)
        *number = clear;
    return 0;
}

struct ceiling *ceiling_new(const struct ceiling_options *options)
{
    struct ceiling *ceiling = mem_zalloc(sizeof(*ceiling));
    ceiling->options = *options;
    ceiling->agreed = -1;
    ceiling->question.number = -1;
    ceiling->verdict = AGREE_YES;
    ceiling->view = (struct follow_chain){
        .ctx = ceiling,
        .latest = on_latest,
        .ceiling = on_ceiling,
        .block = on_block,
        .events_of = on_events_of,
        .events_in = on_events_in,
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
    if (at < ceiling->agreed)
        ceiling->agreed = at;
    if (at < ceiling->question.number)
        ceiling->question.number = -1;
}

enum agree_verdict ceiling_verdict(const struct ceiling *ceiling, struct follow_cursor *block)
{
    *block = ceiling->question;
    return ceiling->verdict;
}
