/* The wallet's rows. Every write is a transaction that begins by checking, and holding, the
 * leader's epoch: one that was replaced commits nothing. What was signed is committed before it is
 * sent. */
#ifndef PAYD_WALLET_STORE_H
#define PAYD_WALLET_STORE_H

#include "services/payd/fees.h"
#include "services/payd/payd.h"
#include "services/payd/wallet_job.h"
#include "services/payd/wallet_node.h"

#define WALLET_STORE_ADDRESS 43

struct wallet_store {
    struct payd *payd;
    int64_t epoch;
};

/* A row of wallet_job. */
struct wallet_row {
    int64_t id;
    enum wallet_job_kind kind;
    enum wallet_job_state state;
    char key[WALLET_JOB_KEY_MAX + 1];
    char target[WALLET_JOB_KEY_MAX + 1];
    char data[2 * WALLET_JOB_DATA_MAX + 3];
    int64_t attempts;                   /* without success, in this state */
    int64_t refusals;                   /* of the contract, in a row */
    char address[WALLET_STORE_ADDRESS]; /* empty: no transaction */
    int64_t nonce;
    char tx_hash[EVM_HASH]; /* mined */
    int64_t block;
    char block_hash[EVM_HASH];
    bool reverted;
    int64_t mined_ms; /* ago */
    bool due;
};

/* A row of wallet_tx. */
struct wallet_attempt {
    int64_t attempt;
    char hash[EVM_HASH];
    char *raw; /* owned */
    struct fees fees;
    int64_t gas;
    int64_t age_ms; /* since a node took it or, if none has, since it was signed; 0: never sent */
};

struct wallet_attempts {
    struct wallet_attempt *items; /* the newest first; owned */
    size_t count;
};

void wallet_attempts_clear(struct wallet_attempts *attempts);
#define AUTO_WALLET_ATTEMPTS CLEANUP(wallet_attempts_clear)

/* How far the leader has read the chain. */
struct wallet_chain {
    int64_t cursor, confirmed;
};

struct wallet_counts {
    int64_t jobs[WALLET_JOB_STATES];
    int64_t open;     /* queued and due, sent or mined */
    int64_t oldest_s; /* age of the oldest job that is queued, sent or mined */
};

int wallet_store_counts(struct wallet_store *store, struct wallet_counts *out,
                        struct err *err) MUST_USE;
int wallet_store_chain(struct wallet_store *store, struct wallet_chain *out,
                       struct err *err) MUST_USE;
/* At most `max` jobs of a state: those sent by their nonce, of the queued what is due, the longest
 * due first. *rows is the caller's to free. */
int wallet_store_jobs(struct wallet_store *store, enum wallet_job_state state, int64_t max,
                      struct wallet_row **rows, size_t *count, struct err *err) MUST_USE;
int wallet_store_attempts(struct wallet_store *store, const char *address, int64_t nonce,
                          struct wallet_attempts *out, struct err *err) MUST_USE;
/* The first nonce from `from` on that nothing was ever signed for. */
int wallet_store_next(struct wallet_store *store, const char *address, int64_t from, int64_t *out,
                      struct err *err) MUST_USE;

/* What was signed for within the last hour, in gwei: for all nonces but one, and for that one. */
struct wallet_spent {
    int64_t others, own;
};

int wallet_store_spent(struct wallet_store *store, const char *address, int64_t nonce,
                       struct wallet_spent *out, struct err *err) MUST_USE;
/* Whether a transfer was sent back in a block that is confirmed. */
int wallet_store_returned(struct wallet_store *store, const char *transfer, bool *returned,
                          struct err *err) MUST_USE;
/* Jobs that are over at a nonce that is free on the chain again go back to `sent`: their block left
 * it. Only where the node, at `head`, has passed that block. *count says how many. */
int wallet_store_revive(struct wallet_store *store, const char *address, int64_t latest,
                        int64_t head, int64_t *count, struct err *err) MUST_USE;
/* Nonces from `latest` on whose job has gone on without them; their bytes must be sent all the
 * same, or later nonces wait for ever. At most `max`; *nonces is the caller's to free. */
int wallet_store_strays(struct wallet_store *store, const char *address, int64_t latest,
                        int64_t max, int64_t **nonces, size_t *count, struct err *err) MUST_USE;

/* A transaction that was signed. */
struct wallet_signed {
    const char *address;
    int64_t nonce, attempt;
    const char *hash, *raw;
    struct fees fees;
    int64_t gas;
};

/* The job is `sent` with it. -1 also where the nonce or the attempt is taken, or the job is not
 * what `row` says any more: then nothing is written, and it must not be sent. */
int wallet_store_sign(struct wallet_store *store, const struct wallet_row *row,
                      const struct wallet_signed *tx, struct err *err) MUST_USE;
/* It was sent; the node's words or NULL. `next_ms`: when to look after it again. */
int wallet_store_sent(struct wallet_store *store, const struct wallet_row *row, const char *hash,
                      const char *answer, int64_t next_ms, struct err *err) MUST_USE;
/* Nothing moved; `why` is shown to the operator. */
int wallet_store_wait(struct wallet_store *store, const struct wallet_row *row, const char *why,
                      int64_t next_ms, struct err *err) MUST_USE;
/* The same, for what the contract refused. */
int wallet_store_refused(struct wallet_store *store, const struct wallet_row *row, const char *why,
                         int64_t next_ms, struct err *err) MUST_USE;
int wallet_store_mined(struct wallet_store *store, const struct wallet_row *row, const char *hash,
                       const struct wallet_receipt *receipt, struct err *err) MUST_USE;
/* Its block left the chain. */
int wallet_store_unmined(struct wallet_store *store, const struct wallet_row *row,
                         struct err *err) MUST_USE;
/* It was mined for good and changed nothing: it is queued for another transaction, and counts as
 * refused. */
int wallet_store_reverted(struct wallet_store *store, const struct wallet_row *row, int64_t next_ms,
                          struct err *err) MUST_USE;
/* Its nonce went to another transaction for good: it is queued for a new one. */
int wallet_store_lost(struct wallet_store *store, const struct wallet_row *row,
                      struct err *err) MUST_USE;
/* It is over: done, or failed with a reason, which is an event too where it was a refund. */
int wallet_store_over(struct wallet_store *store, const struct wallet_row *row,
                      enum wallet_job_state state, const char *why, struct err *err) MUST_USE;

#endif
