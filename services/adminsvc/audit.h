/* The audit log: append-only, each row chained to the one before by SHA-256. */
#ifndef ADMINSVC_AUDIT_H
#define ADMINSVC_AUDIT_H

#include "libcommon/json.h"
#include "libcommon/pg.h"

#define AUDIT_HASH 64 /* hex */

struct audit_entry {
    int64_t at_ms;
    const char *actor; /* key id, "system", or "" for who could not be told */
    const char *role;
    const char *client;
    const char *request_id;
    const char *action; /* "subscription.revoke" */
    const char *target; /* what it was done to; may be "" */
    int status;         /* 0: begun, another row with this request_id tells what came of it */
    const char *problem;
    const char *detail; /* JSON object, or "" */
};

/* The hash of a row: SHA-256 over the previous hash (hex) and the row's fields in the order of the
 * table, numbers as decimals, each as "<bytes>:<text>,". */
void audit_hash(const char *prev, int64_t seq, const struct audit_entry *entry,
                char out[AUDIT_HASH + 1]);

/* Within the caller's transaction: one writer at a time until it ends. */
int audit_append(struct pg_conn *conn, const struct audit_entry *entry, struct err *err) MUST_USE;

/* Rows before `before` (0: the newest), newest first. The caller's. */
int audit_page(struct pg_conn *conn, int64_t before, int64_t limit, json_t **out, int64_t *last_seq,
               struct err *err) MUST_USE;

struct audit_report {
    bool ok;
    int64_t rows, head;
    int64_t broken; /* first seq that is wrong */
    const char *reason;
    char hash[AUDIT_HASH + 1]; /* of the last row */
};

/* Walks the whole chain. */
int audit_verify(struct pg_conn *conn, struct audit_report *out, struct err *err) MUST_USE;

#endif
