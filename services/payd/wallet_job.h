/* What the operator's wallet is asked to do: rows of `wallet_job`, put there by any instance in a
 * transaction of its own, worked off by the leader's wallet. A key names what is asked for, so that
 * asking twice is asking once:
 *   refund:<payment id>   refund-transfer:<transfer id>   revoke:<subscription>:<n>
 *   withdraw:<token>:<caller's idempotency key> */
#ifndef PAYD_WALLET_JOB_H
#define PAYD_WALLET_JOB_H

#include "libcommon/buf.h"
#include "libcommon/pg.h"

#define WALLET_JOB_KEY_MAX  256
#define WALLET_JOB_TEXT_MAX 512
#define WALLET_JOB_DATA_MAX 1024
#define WALLET_JOB_WHY      257
#define WALLET_JOB_HASH     67

enum wallet_job_kind {
    WALLET_JOB_REFUND,
    WALLET_JOB_REFUND_TRANSFER,
    WALLET_JOB_REVOKE,
    WALLET_JOB_UNREVOKE,
    WALLET_JOB_WITHDRAW,
    WALLET_JOB_WITHDRAW_FEES,
    WALLET_JOB_KINDS
};

enum wallet_job_state {
    WALLET_JOB_QUEUED, /* no transaction stands for it */
    WALLET_JOB_SENT,   /* signed and committed; not mined */
    WALLET_JOB_MINED,  /* in a block that may still leave the chain */
    WALLET_JOB_DONE,   /* confirmed */
    WALLET_JOB_FAILED, /* the chain refused it; asking again queues it again */
    WALLET_JOB_STATES
};

struct wallet_job {
    int64_t follower;
    enum wallet_job_kind kind;
    const char *key;
    const char *target; /* payment id, transfer id, subscription or token: what an operator reads */
    const char *actor;  /* who asked */
    const char *reason;
    const struct buf *data; /* call data for our contract */
    bool again;             /* one that is done is begun anew too: the chain has it no longer */
};

/* In the caller's transaction. *added is false where the key is known and has not failed (nor is
 * done, with `again`): then the job stays as it is, whatever else is asked. Otherwise it is queued
 * again with what is asked now. -1 also for a field that is empty or too long. */
int wallet_job_add(struct pg_conn *conn, const struct wallet_job *job, int64_t *id, bool *added,
                   struct err *err) MUST_USE;

struct wallet_job_status {
    int64_t id;
    enum wallet_job_state state;
    char tx_hash[WALLET_JOB_HASH]; /* of the transaction that was mined, else the last that
                                            was signed; empty: none */
    char error[WALLET_JOB_WHY];    /* why it failed or waits; empty: nothing */
};

int wallet_job_find(struct pg_conn *conn, int64_t follower, const char *key,
                    struct wallet_job_status *out, bool *found, struct err *err) MUST_USE;

const char *wallet_job_kind_name(enum wallet_job_kind kind);
int wallet_job_kind_parse(const char *name, enum wallet_job_kind *out) MUST_USE;
const char *wallet_job_state_name(enum wallet_job_state state);
int wallet_job_state_parse(const char *name, enum wallet_job_state *out) MUST_USE;

#endif
