/* What several endpoints' words about one block come to, and which of their heads to believe. Pure.
 *
 * A payment is confirmed only where every endpoint that is up has its block. Who contradicts stops
 * confirmation as long as it is up: which of two is right is for the operator to decide. Who
 * lacks the block is waited for, and then left: from there on it protects nobody. */
#ifndef PAYD_AGREE_H
#define PAYD_AGREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGREE_VOICES 16 /* most endpoints */

enum agree_word {
    AGREE_SILENT, /* has not answered yet */
    AGREE_SAME,   /* has this block by this number */
    AGREE_LACKS,  /* has no block of this number */
    AGREE_OTHER,  /* has another block by this number */
    AGREE_EVENTS, /* has these blocks, with other events in one of them */
};

struct agree_voice {
    bool up;              /* false: it failed repeatedly, its word does not count */
    enum agree_word word; /* about the block in question */
    int64_t said_head;    /* what it calls its head; -1: nothing yet */
    int64_t head;     /* the same, once it has shown that block and its parent; -1: it has not */
    size_t differs;   /* AGREE_EVENTS: the first such block */
    uint8_t said[32]; /* and the digest of what it says happened there */
    int64_t lacks_ms; /* for how long it has lacked whatever it was asked for */
};

enum agree_verdict {
    AGREE_YES,
    AGREE_WAIT,
    AGREE_NO,
    AGREE_WRONG, /* all that are up say the same, and not what we hold: it has to be read again */
};

enum agree_verdict agree_judge(const struct agree_voice *voices, size_t n, int64_t wait_ms);
/* Whether a block that we hold may be taken back, with all that was confirmed since, by what the
 * voices say of it: AGREE_YES where more have another one than have it; AGREE_WAIT while one that
 * is up has said nothing yet. Where nobody is up, or only who is followed, that one decides. */
enum agree_verdict agree_gone(const struct agree_voice *voices, size_t n, int64_t wait_ms);
/* Whether a block that we hold, and that somebody said is gone, is doubted no more: AGREE_YES, or
 * AGREE_NO while one that is up has another. */
enum agree_verdict agree_there(const struct agree_voice *voices, size_t n, int64_t wait_ms);
/* The head that others are measured by: of three or more the second highest, so that no single one
 * can make all others look late; else the highest. -1: none is known. */
int64_t agree_head(const struct agree_voice *voices, size_t n);
/* Whether this one is not to be asked while another can be. */
bool agree_behind(const struct agree_voice *voice, int64_t head, int64_t max_lag);

#endif
