/* What the events of the chain mean as rows: payments, slots, refunds, transfers that paid nothing,
 * the contract's signer. Each function is part of a transaction of store.c's. */
#ifndef PAYD_BOOK_H
#define PAYD_BOOK_H

#include "services/payd/follow.h"
#include "services/payd/move.h"
#include "services/payd/store.h"

struct book {
    struct pg_conn *conn;
    const struct store_options *options;
    int64_t epoch;
    /* Payments whose token was not listed, or that lacked the one before, are judged anew: once a
     * reign, for the list is of the configuration, and when something was found late. */
    bool relist;
    bool late; /* later events may be known already */
    /* To be announced once the transaction is committed. */
    struct moves moves;
    size_t unrecorded; /* transfers that paid nothing, beyond those that become rows */
};

int book_event(struct book *book, const struct evm_event *event, struct err *err) MUST_USE;
/* Judges what is open anew: payments and transfers. */
int book_settle(struct book *book, int64_t cursor, int64_t ceiling, struct err *err) MUST_USE;
/* The blocks above `number` are no longer part of the chain. */
int book_undo(struct book *book, int64_t number, struct err *err) MUST_USE;

#endif
