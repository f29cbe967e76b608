/* Up to which block payments may be confirmed, and which confirmed ones may be taken back, where
 * several endpoints have to agree: a view of the chain that is the given one but for its ceiling
 * and what of ours is gone. One question to the endpoints in a step at most, and none while nothing
 * is about to be confirmed or taken back. */
#ifndef PAYD_CEILING_H
#define PAYD_CEILING_H

#include "services/payd/agree.h"
#include "services/payd/claim.h"

struct ceiling_options {
    const struct follow_chain *chain; /* kept, not copied */
    size_t voices;                    /* at most AGREE_VOICES */
    int64_t confirmations;
    bool by_time; /* payments may be confirmed before that many blocks follow */
    int64_t wait_ms;
    void *ctx;
    /* The oldest blocks up to at_most whose events nobody has agreed on yet; as many as fit. */
    int (*waiting)(void *ctx, int64_t at_most, struct claim *out, struct err *err);
    /* Holds every endpoint against the claim and gives what they have said so far. */
    void (*ask)(void *ctx, const struct claim *claim, struct agree_voice *voices);
    /* Whether anything above this block was confirmed. */
    int (*closed)(void *ctx, int64_t above, bool *any, struct err *err);
    /* All agree on what waits up to this block: it does not wait any more. */
    int (*agreed)(void *ctx, int64_t number, struct err *err);
};

struct ceiling;

struct ceiling *ceiling_new(const struct ceiling_options *options);
void ceiling_free(struct ceiling **ceiling);
/* Lives as long as the ceiling. */
const struct follow_chain *ceiling_view(struct ceiling *ceiling);
/* A step begins at this block. */
void ceiling_begin(struct ceiling *ceiling, int64_t at);

struct ceiling_state {
    enum agree_verdict verdict; /* of the last question; AGREE_YES too where nothing was asked */
    struct follow_cursor block; /* that it is about: where endpoints differ, or the newest */
    bool events;                /* AGREE_NO: it is the block's events that they differ about */
};

/* Whether this endpoint alone would have confirmed payments taken back: another is to be followed.
 */
bool ceiling_left(const struct ceiling *ceiling, size_t endpoint);

struct ceiling_state ceiling_state(const struct ceiling *ceiling);

#endif
