/* The order that makes the log complete: the work and its row are one transaction, and the answer
 * goes out after the commit. What leaves the database (a revocation) is recorded before it is tried
 * and again when its outcome is known. */
#include "services/adminsvc/call.h"

#include "libcommon/log.h"
#include "services/adminsvc/audit.h"
#include "services/adminsvc/gauges.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ACQUIRE_MS 2000

void call_done(struct call *call, unsigned status, json_t *body)
{
    call->status = status;
    call->body = body;
}

void call_refuse(struct call *call, enum problem problem, const char *why, ...)
{
    va_list args;
    va_start(args, why);
    vsnprintf(call->why, sizeof(call->why), why, args);
    va_end(args);
    call->problem = problem;
    call->status = problem_get(problem)->status;
}

void call_failed(struct call *call, const struct err *err)
{
    log_warn("admin call failed", LOG_STR(NAME, call->action), LOG_STR(ERROR, err->msg),
             LOG_STR(REQUEST_ID, http_request_id(call->request)));
    call_refuse(call, PROBLEM_UNAVAILABLE, "the database cannot be asked at the moment");
}

void call_target(struct call *call, const char *target)
{
    size_t i = 0;
    for (; target[i] != '\0' && i + 1 < sizeof(call->target); i++)
        call->target[i] = target[i] >= ' ' && target[i] < 127 ? target[i] : '?';
    call->target[i] = '\0';
}

static int record(struct call *call, unsigned status, struct err *err)
{
    AUTO_FREE char *detail = call->detail != NULL ? json_text(call->detail) : mem_strdup("");
    const struct audit_entry entry = {
        .at_ms = clock_wall_ms(call->admin->clock),
        .actor = call->who.id,
        .role = call->who.id[0] != '\0' ? keys_role_name(call->who.role) : "",
        .client = http_client(call->request),
        .request_id = http_request_id(call->request),
        .action = call->action,
        .target = call->target,
        .status = (int)status,
        .problem = call->problem != PROBLEM_NONE ? problem_get(call->problem)->name : "",
        .detail = detail,
    };
    return audit_append(call->conn, &entry, err);
}

static int record_and_commit(struct call *call, unsigned status)
{
    struct err err = {""};
    if (record(call, status, &err) == 0 && pg_commit(call->conn, &err) == 0)
        return 0;
    pg_rollback(call->conn);
    metrics_count(call->admin->metrics, GAUGES_AUDIT_LOST, NULL, NULL);
    log_error("audit log not written", LOG_STR(NAME, call->action), LOG_STR(ERROR, err.msg),
              LOG_STR(REQUEST_ID, http_request_id(call->request)));
    return -1;
}

int call_intend(struct call *call)
{
    struct err err;
    if (record_and_commit(call, 0) == 0 && pg_begin(call->conn, &err) == 0)
        return 0;
    call_refuse(call, PROBLEM_UNAVAILABLE, "the audit log cannot be written at the moment");
    return -1;
}

static void answer(struct call *call)
{
    if (http_replied(call->request))
        return;
    if (call->problem != PROBLEM_NONE)
        http_reply_problem(call->request, call->problem, "%s", call->why);
    else
        http_reply_json(call->request, call->status, MEM_STEAL(call->body));
}

/* A transaction that failed takes no more rows: its refusal is recorded in a new one. */
static int ready_to_record(struct call *call)
{
    struct err err;
    if (call->problem != PROBLEM_UNAVAILABLE)
        return 0;
    pg_rollback(call->conn);
    return pg_begin(call->conn, &err);
}

static void finish(struct call *call)
{
    if (call->status == 0 && http_replied(call->request)) {
        call->problem = PROBLEM_INVALID_FIELD; /* a helper has refused the body */
        call->status = problem_get(call->problem)->status;
    }
    if (call->status == 0)
        call_refuse(call, PROBLEM_INTERNAL, "nothing came of it");
    if (ready_to_record(call) != 0 || record_and_commit(call, call->status) != 0)
        call_refuse(call, PROBLEM_UNAVAILABLE, "the audit log cannot be written at the moment");
    answer(call);
}

static int64_t now_ms(const struct adminsvc *admin)
{
    return clock_mono_ms(admin->clock);
}

/* Nobody's call: the log takes it as a row or as part of a sum. */
static void unknown_caller(struct call *call)
{
    struct adminsvc *admin = call->admin;
    call->who.id[0] = '\0';
    metrics_count(admin->metrics, GAUGES_FAILURES, NULL, NULL);
    call_refuse(call, PROBLEM_INVALID_KEY, "there is no such key");
    if (failures_note(admin->failures, http_client(call->request), clock_wall_ms(admin->clock)))
        finish(call);
    else
        answer(call);
}

static void with_transaction(struct call *call, enum keys_role role, call_handler *handler)
{
    const char *key = http_bearer(call->request);
    struct err err;
    bool found = false;
    if (key != NULL && keys_find(call->conn, key, &found, &call->who, &err) != 0) {
        call->who.id[0] = '\0';
        call_failed(call, &err);
        finish(call);
        return;
    }
    if (!found) {
        unknown_caller(call);
        return;
    }
    if (call->who.role < role)
        call_refuse(call, PROBLEM_FORBIDDEN, "the key is a %s's; this needs %s or higher",
                    keys_role_name(call->who.role), keys_role_name(role));
    else
        handler(call);
    finish(call);
}

/* true: the client has sent too many wrong keys, and was told so. */
static bool refuse_blocked(struct adminsvc *admin, struct http_request *request)
{
    const char *client = http_client(request);
    char seconds[24];
    int64_t now = clock_wall_ms(admin->clock);
    int64_t wait = failures_blocked(admin->failures, client, now);
    if (wait <= 0)
        return false;
    failures_note(admin->failures, client, now);
    metrics_count(admin->metrics, GAUGES_FAILURES, NULL, NULL);
    snprintf(seconds, sizeof(seconds), "%" PRId64, (wait + 999) / 1000);
    http_reply_header(request, "Retry-After", seconds);
    http_reply_problem(request, PROBLEM_RATE_EXCEEDED, "too many calls without a valid key");
    return true;
}

void call_run(struct adminsvc *admin, struct http_request *request, const char *action,
              enum keys_role role, call_handler *handler)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    struct call call = {.admin = admin, .request = request, .action = action};
    struct err err = {"the tables are not there yet"};
    int64_t begun = now_ms(admin);
    if (refuse_blocked(admin, request))
        return;
    if (!atomic_load(&admin->ready) || pg_acquire(admin->pg, ACQUIRE_MS, &conn, &err) != 0 ||
        pg_begin(conn, &err) != 0) {
        log_warn("admin call refused", LOG_STR(NAME, action), LOG_STR(ERROR, err.msg),
                 LOG_STR(REQUEST_ID, http_request_id(request)),
                 LOG_INT(DURATION_MS, now_ms(admin) - begun));
        http_reply_problem(request, PROBLEM_UNAVAILABLE,
                           "the database cannot be asked at the moment");
        return;
    }
    call.conn = conn;
    with_transaction(&call, role, handler);
    json_decref(call.detail);
    json_decref(call.body);
}
