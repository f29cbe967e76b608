/* Usage batches into the ledger, each once, in the order of their journal. */
#ifndef SUBD_LEDGER_H
#define SUBD_LEDGER_H

#include "libcommon/proto/usage.h"
#include "services/subd/subd.h"

enum ledger_result {
    LEDGER_APPLIED,
    LEDGER_REPEATED,  /* applied before, the same bytes */
    LEDGER_DIFFERING, /* applied before with other bytes */
    LEDGER_KEPT,      /* one before it is missing: it waits in the database for its turn */
    LEDGER_EARLY,     /* the same, and too far ahead to be kept */
    LEDGER_FENCED,    /* an operator has closed the journal */
};

/* One transaction. `text` is what `batch` was decoded from. *strange is how many entries named a
 * lease that this journal does not hold: their usage is in the ledger all the same. */
int ledger_apply(struct pg_conn *conn, const struct usage_batch *batch, const char *text,
                 const char *sha256, enum ledger_result *result, int64_t *strange,
                 struct err *err) MUST_USE;

/* The kept batch whose turn it is; *text is the caller's, NULL where there is none. */
int ledger_next(struct pg_conn *conn, const char *journal, char **text, struct err *err) MUST_USE;
/* Journals with such a batch, up to 64: PGresult with the column `journal`. */
int ledger_waiting(struct pg_conn *conn, PGresult **out, struct err *err) MUST_USE;

/* Keeps a message that cannot be applied. */
int ledger_park(struct pg_conn *conn, const char *subject, const void *data, size_t len,
                const char *sha256, const char *reason, struct err *err) MUST_USE;

struct ledger;

/* Consumes OCTROI_USAGE. */
int ledger_start(struct subd *subd, struct ledger **out, struct err *err) MUST_USE;
void ledger_stop(struct ledger **ledger);

#endif
