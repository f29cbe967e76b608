/* One handler a subject. An answer is a reply or the name of a problem; what a proxy cannot know
 * (the database is away) is `unavailable`, and it asks again. */
#include "services/subd/desk.h"

#include "libcommon/log.h"
#include "libcommon/problem.h"
#include "libcommon/proto/payment.h"
#include "services/subd/gauges.h"
#include "services/subd/keyring.h"
#include "services/subd/lend.h"
#include "services/subd/revoke.h"

#include <string.h>

struct desk {
    struct subd *subd;
    struct bus_sub *check, *keys, *lease, *revoke;
};

/* Steals text. */
static void answer(struct bus_msg *msg, char *text)
{
    struct err err;
    if (bus_msg_reply(msg, text, strlen(text), &err))
        log_debug("answer is lost", LOG_STR(SUBJECT, bus_msg_subject(msg)),
                  LOG_STR(ERROR, err.msg));
    free(text);
}

static void refuse(struct bus_msg *msg, enum problem problem, const struct err *err)
{
    if (problem == PROBLEM_UNAVAILABLE)
        log_warn("a request is not answered", LOG_STR(SUBJECT, bus_msg_subject(msg)),
                 LOG_STR(ERROR, err->msg));
    /* The server's words are for the log. */
    answer(msg, payment_error_encode(problem_get(problem)->name, problem == PROBLEM_UNAVAILABLE
                                                                     ? problem_get(problem)->title
                                                                     : err->msg));
}

static int read_check(struct subd *subd, const char (*ids)[SUB_ID_LEN + 1], size_t count,
                      int64_t *head, struct record **records, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    const char *list[SUB_BATCH_MAX];
    for (size_t i = 0; i < count; i++)
        list[i] = ids[i];
    /* The head first: every change up to it is in the records that are read after it. */
    if (subd_session(subd, &conn, err) || record_head(conn, head, err))
        return -1;
    return record_list(conn, list, count, false, clock_wall_s(subd->clock), records, err);
}

static void on_check(void *ctx, struct bus_msg *msg)
{
    struct desk *desk = ctx;
    struct err err;
    size_t len, count;
    int64_t head;
    const char *text = bus_msg_data(msg, &len);
    AUTO_FREE char(*ids)[SUB_ID_LEN + 1] = mem_array(SUB_BATCH_MAX, sizeof(*ids));
    if (sub_check_decode(text, len, ids, SUB_BATCH_MAX, &count, &err)) {
        refuse(msg, PROBLEM_BAD_REQUEST, &err);
        return;
    }
    AUTO_FREE struct record *records = NULL;
    if (read_check(desk->subd, ids, count, &head, &records, &err)) {
        refuse(msg, PROBLEM_UNAVAILABLE, &err);
        return;
    }
    AUTO_FREE struct sub_record *list = mem_array(count + 1, sizeof(*list));
    for (size_t i = 0; i < count; i++)
        list[i] = records[i].pub;
    answer(msg, sub_check_reply_encode(head, list, count));
}

static void on_keys(void *ctx, struct bus_msg *msg)
{
    struct desk *desk = ctx;
    answer(msg, mem_strdup(keyring_jwks(desk->subd->keys)));
}

static int lend_now(struct subd *subd, const struct lease_request *request,
                    struct lease_reply *reply, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (subd_session(subd, &conn, err))
        return -1;
    int failed = lend(subd, conn, request, clock_wall_ms(subd->clock), reply, err);
    return failed && pg_retryable(conn)
               ? lend(subd, conn, request, clock_wall_ms(subd->clock), reply, err)
               : failed;
}

static void on_lease(void *ctx, struct bus_msg *msg)
{
    struct desk *desk = ctx;
    struct lease_request request = {0};
    struct lease_reply reply = {0};
    struct err err;
    size_t len;
    const char *text = bus_msg_data(msg, &len);
    int64_t began = clock_mono_ns(desk->subd->clock);
    if (lease_request_decode(text, len, &request, &err)) {
        refuse(msg, PROBLEM_BAD_REQUEST, &err);
    } else if (lend_now(desk->subd, &request, &reply, &err)) {
        refuse(msg, PROBLEM_UNAVAILABLE, &err);
    } else {
        answer(msg, lease_reply_encode(&reply));
    }
    metric_observe(metrics_cell(desk->subd->metrics, GAUGES_LEASE_SECONDS, NULL),
                   (double)(clock_mono_ns(desk->subd->clock) - began) / 1e9);
    lease_request_clear(&request);
    lease_reply_clear(&reply);
}

static void on_revoke(void *ctx, struct bus_msg *msg)
{
    struct desk *desk = ctx;
    struct revoke_request request;
    struct record record;
    struct err err;
    size_t len;
    const char *text = bus_msg_data(msg, &len);
    if (revoke_decode(text, len, &request, &err)) {
        refuse(msg, PROBLEM_BAD_REQUEST, &err);
        return;
    }
    enum problem problem = revoke(desk->subd, &request, &record, &err);
    if (problem != PROBLEM_NONE) {
        refuse(msg, problem, &err);
        return;
    }
    AUTO_JSON json_t *out = json_pack("{s:o}", "record", sub_record_encode(&record.pub));
    answer(msg, json_text(out));
}

int desk_start(struct subd *subd, struct desk **out, struct err *err)
{
    struct desk *desk = mem_zalloc(sizeof(*desk));
    *out = desk;
    desk->subd = subd;
    if (bus_subscribe(subd->bus, SUB_SUBJECT_CHECK, SUB_QUEUE, on_check, desk, &desk->check, err) ||
        bus_subscribe(subd->bus, SUB_SUBJECT_KEYS, SUB_QUEUE, on_keys, desk, &desk->keys, err) ||
        bus_subscribe(subd->bus, SUB_SUBJECT_LEASE, SUB_QUEUE, on_lease, desk, &desk->lease, err))
        return -1;
    return bus_subscribe(subd->bus, SUB_SUBJECT_REVOKE, SUB_QUEUE, on_revoke, desk, &desk->revoke,
                         err);
}

void desk_stop(struct desk **ptr)
{
    struct desk *desk = *ptr;
    if (!desk)
        return;
    *ptr = NULL;
    bus_unsubscribe(&desk->check);
    bus_unsubscribe(&desk->keys);
    bus_unsubscribe(&desk->lease);
    bus_unsubscribe(&desk->revoke);
    free(desk);
}
