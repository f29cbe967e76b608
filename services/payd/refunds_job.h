/* A request as a job of the wallet, and the job as an answer. In the caller's transaction. */
#ifndef PAYD_REFUNDS_JOB_H
#define PAYD_REFUNDS_JOB_H

#include "libcommon/json.h"
#include "services/payd/refunds.h"
#include "services/payd/wallet_job.h"

#define REFUNDS_JOB_RETRY_MIN "10 minutes" /* before what is over is begun again */

struct refunds_job {
    bool known;
    bool failed;
    bool done;
    bool rests; /* either, a short while ago */
    char data[2 * WALLET_JOB_DATA_MAX + 3];
};

int refunds_job_find(const struct refunds *refunds, const char *key, struct refunds_job *out,
                     struct err *err) MUST_USE;

/* Whether what a request names is to be begun. `returned`: the chain, as it is read, has it. What
 * the wallet held for done and the chain has no longer left it with a block that nobody followed:
 * another's transaction, or one of an earlier key. It is begun anew, but not while payd may only be
 * late in reading of it. */
bool refunds_job_begins(const struct refunds_job *job, bool returned);

/* Refuses where there is no wallet. `call` is the signature of a function of our contract. */
enum problem refunds_job_add(const struct refunds *refunds, struct wallet_job *job,
                             const char *call, const struct word *words, size_t count,
                             struct err *err) MUST_USE;

/* {member: object + state, tx_hash, error}; the object is stolen. */
enum problem refunds_job_answer(const struct refunds *refunds, const char *key, const char *member,
                                json_t *object, json_t **out, struct err *err) MUST_USE;

/* Commits, or rolls back where there is a problem; *out is dropped where it failed. */
enum problem refunds_job_end(const struct refunds *refunds, enum problem problem, json_t **out,
                             struct err *err) MUST_USE;

#endif
