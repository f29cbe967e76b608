/* Refresh tokens: each is spent for a successor. One that is spent again later than 30 s, or after
 * its successor was used, was stolen from somebody: its whole family ends. */
#ifndef SUBD_REFRESH_H
#define SUBD_REFRESH_H

#include "libcommon/problem.h"
#include "services/subd/record.h"

#define REFRESH_TOKEN_LEN  43 /* base64url of 256 bits */
#define REFRESH_FAMILY_LEN 32
#define REFRESH_REPEAT_S   30

struct refresh_grant {
    char token[REFRESH_TOKEN_LEN + 1]; /* secret */
    char family[REFRESH_FAMILY_LEN + 1];
    char subscription[SUB_ID_LEN + 1];
};

/* The first of a new family. */
int refresh_begin(struct pg_conn *conn, const char *subscription, int64_t now, int64_t ttl_s,
                  struct refresh_grant *out, struct err *err) MUST_USE;

/* PROBLEM_NONE: *out is the successor. PROBLEM_INVALID_TOKEN: unknown, expired, or reused (*reused,
 * and the family is revoked). PROBLEM_PAYMENT_REQUIRED: nothing was spent. Fills *record. */
enum problem refresh_spend(struct pg_conn *conn, const char *token, int64_t now, int64_t ttl_s,
                           struct refresh_grant *out, struct record *record, bool *reused,
                           struct err *err);

#endif
