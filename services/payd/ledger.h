/* The states of a payment and the one function that moves it between them. A state says what payd
 * holds to be true of the chain; what subd has to be told follows from the move itself. */
#ifndef PAYD_LEDGER_H
#define PAYD_LEDGER_H

#include "libcommon/metrics.h"
#include "libcommon/proto/quote.h"

#include <stdbool.h>

enum ledger_state {
    LEDGER_SEEN,       /* mined in the block at the cursor */
    LEDGER_CONFIRMING, /* other blocks follow its own */
    LEDGER_CONFIRMED,
    LEDGER_ACTIVATED, /* subd has applied it */
    LEDGER_ORPHANED,  /* its block is no longer part of the chain */
    LEDGER_REJECTED,  /* on the chain, and nothing that we would have sold */
    LEDGER_REFUNDED,  /* the chain has paid it back */
};

#define LEDGER_STATES 7

enum ledger_cause {
    LEDGER_MINED,       /* its event is in a block of the chain, again */
    LEDGER_BURIED,      /* a block follows */
    LEDGER_DEEP_ENOUGH, /* the rule of confirmation holds */
    LEDGER_APPLIED,     /* subd says that it applied the revision */
    LEDGER_CUT_OFF,     /* its block left the chain */
    LEDGER_REFUSED,     /* ledger_objection has one */
    LEDGER_REDEEMED,    /* the objection is gone */
    LEDGER_REPAID,      /* the event of its refund is in a block of the chain */
    LEDGER_UNREPAID,    /* the refund's block left the chain, its own did not */
};

#define LEDGER_CAUSES 9

enum ledger_hint { LEDGER_HINT_NONE, LEDGER_HINT_CONFIRMED, LEDGER_HINT_REVERSED };

struct ledger_move {
    enum ledger_state from, to;
    enum ledger_hint hint; /* what subd is told */
};

const char *ledger_name(enum ledger_state state);
int ledger_parse(const char *name, enum ledger_state *out) MUST_USE;
const char *ledger_hint_name(enum ledger_hint hint); /* "" for none */

/* -1: the cause means nothing in this state. `before` is the state that a refund took it from, and
 * is looked at for LEDGER_UNREPAID only. subd is told of every refund, also where it was never told
 * of the payment: a refund takes away what the slot held from earlier ones too. */
int ledger_transition(enum ledger_state from, enum ledger_cause cause, enum ledger_state before,
                      struct ledger_move *out) MUST_USE;

/* Counts and logs a move that is committed, of a payment or of a transfer that pays nothing (which
 * has the same states but activated and rejected). `first`: it was not known before. */
void ledger_announce(struct metrics *metrics, bool transfer, const char *id, int64_t revision,
                     bool first, const struct ledger_move *move, int64_t block, const char *reason);

/* A token that quotes may name: its place in the contract's table. */
struct ledger_token {
    uint8_t address[20];
    uint8_t index;
};

/* Why an event of our own contract is nothing that we would have sold; NULL: it is fine. seq_before
 * is the slot's seq before the event. Without tokens any is taken. */
const char *ledger_objection(const struct quote_terms *terms, const uint8_t token[20],
                             uint16_t seq_before, const struct ledger_token *tokens, size_t count);
#define LEDGER_UNKNOWN_PLAN "unknown-plan"

/* When a payment counts as confirmed: its block is at or below the ceiling and either
 * `confirmations` blocks follow it or, where confirm_after_ms is not 0, it has been on the chain
 * for that long. */
struct ledger_rule {
    int64_t confirmations;
    int64_t confirm_after_ms;
};

/* What has become of an open payment; false: nothing. */
bool ledger_judge(const struct ledger_rule *rule, enum ledger_state state, int64_t block,
                  int64_t cursor, int64_t ceiling, int64_t age_ms, enum ledger_cause *out);

#endif
