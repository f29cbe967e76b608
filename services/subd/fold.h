/* A subscription as the fold of its payments: its grant is the confirmed one with the highest seq,
 * if that is above the highest seq that was refunded. Applying a payment is one transaction, and
 * does nothing the second time. */
#ifndef SUBD_FOLD_H
#define SUBD_FOLD_H

#include "libcommon/proto/quote.h"
#include "services/subd/record.h"
#include "services/subd/state.h"

/* A row of payments.payment_v1. */
struct fold_payment {
    char id[67];
    int64_t revision;
    bool counts;   /* confirmed or activated */
    bool refunded; /* the slot's grant was cleared: no earlier payment counts either */
    bool settled;  /* neither seen nor confirming: what payd made of it */
    int64_t chain_id;
    char contract[43], subscriber[43], service_id[67];
    int64_t plan, seq, start, expiry, block;
    char subscription[QUOTE_SUBSCRIPTION_ID];
};

enum fold_result {
    FOLD_APPLIED, /* the subscription changed */
    FOLD_NOTED,   /* recorded, with nothing to change */
    FOLD_CLOSED,  /* recorded; the subscription is revoked and stays so: owed back */
    FOLD_KNOWN,   /* applied before as it stands, or not decided yet */
};

struct fold_outcome {
    enum fold_result result;
    enum sub_state from, to;
    enum state_event event;
    int64_t version;
    bool refused; /* the payment counts and never was the grant, since the subscription is revoked;
                     every time that it is applied */
    bool back;    /* its revision had been higher: payd's tables come from a backup */
};

/* Reads columns of the view and makes the subscription's id. */
int fold_read(const PGresult *result, int row, struct fold_payment *out, struct err *err) MUST_USE;
#define FOLD_COLUMNS                                                                               \
    "p.payment_id, p.revision, p.state, p.chain_id, p.contract, p.subscriber, p.service_id, "      \
    "p.plan, p.seq, p.start_at, p.expires_at, p.block_number"

/* In a transaction of the caller's. */
int fold_apply(struct pg_conn *conn, const struct fold_payment *payment, int64_t now,
               struct fold_outcome *out, struct err *err) MUST_USE;

#endif
