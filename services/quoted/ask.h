/* What payd says of a subscriber's slot and subd of its revocation, asked at the same time. */
#ifndef QUOTED_ASK_H
#define QUOTED_ASK_H

#include "services/quoted/offer.h"
#include "services/quoted/quoted.h"

enum ask_result {
    ASK_OK,
    ASK_AWAY,   /* payd or the chain is away, or too many wait for it already */
    ASK_SIGNER, /* no key of ours is the contract's signer */
};

struct ask_answer {
    struct quote_terms slot;
    bool pending, revoked;
    char signer[43]; /* who has to sign; "": not known */
};

/* Blocks for chain.timeout at most. `why` is set but for ASK_OK. */
enum ask_result ask_slot(struct quoted *quoted, const struct offer_wish *wish,
                         struct ask_answer *out, struct err *why) MUST_USE;
/* The same question for nobody's slot: only what it says of payd counts. */
void ask_probe(struct quoted *quoted);

#endif
