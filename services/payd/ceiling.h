/* Up to which block payments may be confirmed, where several endpoints have to agree: a view of the
 * chain that is the given one but for its ceiling. One question to the endpoints in a step at most,
 * and none while no payment is about to be confirmed. */
#ifndef PAYD_CEILING_H
#define PAYD_CEILING_H

#include "services/payd/agree.h"
#include "services/payd/follow.h"

struct ceiling_options {
    const struct follow_chain *chain; /* kept, not copied */
    size_t voices;                    /* at most AGREE_VOICES */
    int64_t confirmations;
    bool by_time; /* payments may be confirmed before that many blocks follow */
    int64_t wait_ms;
    void *ctx;
    /* The newest block up to at_most with a payment that is not confirmed yet, and the number of
     * the oldest. */
    int (*waiting)(void *ctx, int64_t at_most, struct follow_cursor *newest, int64_t *oldest,
                   bool *found, struct err *err);
    /* Asks every endpoint for the block and gives what they have said so far. */
    void (*ask)(void *ctx, const struct follow_cursor *block, struct agree_voice *voices);
};

struct ceiling;

struct ceiling *ceiling_new(const struct ceiling_options *options);
void ceiling_free(struct ceiling **ceiling);
/* Lives as long as the ceiling. */
const struct follow_chain *ceiling_view(struct ceiling *ceiling);
/* A step begins at this block. */
void ceiling_begin(struct ceiling *ceiling, int64_t at);
/* Of the last question; *block is it. AGREE_YES too where nothing had to be asked. */
enum agree_verdict ceiling_verdict(const struct ceiling *ceiling, struct follow_cursor *block);

#endif
