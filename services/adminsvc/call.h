/* One call of the admin API, from the key to the audit log: nothing is answered that is not
 * recorded. Handlers only do the work and say what came of it. */
#ifndef ADMINSVC_CALL_H
#define ADMINSVC_CALL_H

#include "services/adminsvc/adminsvc.h"
#include "services/adminsvc/keys.h"

struct call {
    struct adminsvc *admin;
    struct http_request *request;
    const char *action;       /* as the audit log names it */
    struct keys_identity who; /* id "": not known */
    struct pg_conn *conn;     /* in a transaction that ends with the audit row */
    char target[128];         /* what it is done to, for the log; printable ASCII */
    json_t *detail;           /* for the log, owned */

    unsigned status; /* what came of it; 0: nothing yet */
    json_t *body;    /* of a success, owned */
    enum problem problem;
    char why[300];
};

typedef void call_handler(struct call *call);

/* Authenticates, checks that the key's role is `role` at least, runs the handler, records, answers.
 */
void call_run(struct adminsvc *admin, struct http_request *request, const char *action,
              enum keys_role role, call_handler *handler);

/* For handlers. A refusal that a helper of http_server.h has already sent needs neither. `body` is
 * stolen. */
void call_done(struct call *call, unsigned status, json_t *body);
void call_refuse(struct call *call, enum problem problem, const char *why, ...) PRINTF_LIKE(3, 4);
/* The database failed: logs why, refuses. */
void call_failed(struct call *call, const struct err *err);
void call_target(struct call *call, const char *target);
/* Records that the call begins, and commits: for what happens outside the database. -1: refused. */
int call_intend(struct call *call) MUST_USE;

#endif
