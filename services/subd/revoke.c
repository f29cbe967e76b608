/* Who revoked and why stays with the subscription; doing it again answers as the first time and
 * changes nothing. */
#include "services/subd/revoke.h"

#include "libcommon/json.h"
#include "libcommon/log.h"
#include "services/subd/state.h"

#include <stdio.h>
#include <string.h>

static const struct pg_stmt note_stmt = {
    "revoke_note", "UPDATE subscription SET revoked_reason = $2, revoked_by = $3,"
                   " revoked_at = now() WHERE id = $1"};

int revoke_decode(const char *text, size_t len, struct revoke_request *out, struct err *err)
{
    AUTO_JSON json_t *json = NULL;
    const char *subscription, *reason, *actor;
    if (json_parse(text, len, &json, err) ||
        json_get_str(json, "subscription", SUB_ID_LEN, &subscription, err) ||
        json_get_str(json, "reason", sizeof(out->reason) - 1, &reason, err) ||
        json_get_str(json, "actor", sizeof(out->actor) - 1, &actor, err))
        return -1;
    if (!sub_id_valid(subscription, strlen(subscription)))
        return err_set(err, "subscription: sub_ and 32 hex digits");
    snprintf(out->subscription, sizeof(out->subscription), "%s", subscription);
    snprintf(out->reason, sizeof(out->reason), "%s", reason);
    snprintf(out->actor, sizeof(out->actor), "%s", actor);
    return 0;
}

static enum problem transact(struct pg_conn *conn, const struct revoke_request *request,
                             int64_t now, struct record *record, enum sub_state *from,
                             struct err *err)
{
    enum sub_state to;
    bool found;
    if (pg_begin(conn, err) ||
        record_get(conn, request->subscription, true, now, record, &found, err))
        return PROBLEM_UNAVAILABLE;
    if (!found) {
        err_set(err, "there is no such subscription");
        return PROBLEM_NOT_FOUND;
    }
    *from = record->pub.state;
    if (*from == SUB_REVOKED)
        return PROBLEM_NONE;
    if (state_transition(*from, STATE_REVOKED, &to)) {
        err_set(err, "the subscription is %s", sub_state_name(*from));
        return PROBLEM_CONFLICT;
    }
    if (pg_run(conn, &note_stmt, PG_PARAMS(request->subscription, request->reason, request->actor),
               NULL, err) ||
        record_move(conn, record, to, err) || pg_commit(conn, err))
        return PROBLEM_UNAVAILABLE;
    return PROBLEM_NONE;
}

enum problem revoke(struct subd *subd, const struct revoke_request *request, struct record *record,
                    struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    enum sub_state from = SUB_UNKNOWN;
    if (subd_session(subd, &conn, err))
        return PROBLEM_UNAVAILABLE;
    enum problem problem = transact(conn, request, clock_wall_s(subd->clock), record, &from, err);
    if (problem != PROBLEM_NONE || from == SUB_REVOKED) {
        pg_rollback(conn);
        return problem;
    }
    state_announce(subd->metrics, record->pub.id, record->pub.version, from, record->pub.state,
                   STATE_REVOKED);
    log_info("subscription revoked", LOG_STR(SUBSCRIPTION, record->pub.id),
             LOG_STR(ACTOR, request->actor), LOG_STR(REASON, request->reason));
    subd_changed(subd);
    return PROBLEM_NONE;
}
