/* Answers requests on the bus out of PostgreSQL. A slot is told of only while the chain is followed
 * up to its head, or as near as a poll leaves it: a quote made of an old slot could not be paid. */
#include "services/payd/verbs.h"

#include "libcommon/log.h"
#include "libcommon/problem.h"
#include "libcommon/proto/payment.h"
#include "services/payd/gauges.h"
#include "services/payd/query.h"
#include "services/payd/store.h"

#include <string.h>

#define ACQUIRE_MS 1000
#define LED_MS     10000
#define LAG_BLOCKS 2 /* a leader at work is this far behind the head that it saw */

struct verbs {
    struct bus_sub *slot, *status, *activated;
};

static void answer(struct payd *payd, struct bus_msg *msg, const char *verb, char *text)
{
    AUTO_FREE char *owned = text;
    struct err err;
    metrics_count(payd->metrics, GAUGES_REQUESTS, verb, "ok");
    if (bus_msg_reply(msg, owned, strlen(owned), &err) != 0)
        log_debug("an answer could not be sent", LOG_STR(SUBJECT, bus_msg_subject(msg)),
                  LOG_STR(ERROR, err.msg));
}

static void refuse(struct payd *payd, struct bus_msg *msg, const char *verb, enum problem problem,
                   const char *why)
{
    const char *code = problem_get(problem)->name;
    AUTO_FREE char *text = payment_error_encode(code, why);
    struct err err;
    metrics_count(payd->metrics, GAUGES_REQUESTS, verb, code);
    if (bus_msg_reply(msg, text, strlen(text), &err) != 0)
        log_debug("an answer could not be sent", LOG_STR(SUBJECT, bus_msg_subject(msg)),
                  LOG_STR(ERROR, err.msg));
}

/* A session of the database; NULL: refused. */
static struct pg_conn *session(struct payd *payd, struct bus_msg *msg, const char *verb)
{
    struct pg_conn *conn = NULL;
    if (atomic_load(&payd->follower) == 0 || pg_acquire(payd->pg, ACQUIRE_MS, &conn, NULL) != 0)
        refuse(payd, msg, verb, PROBLEM_UNAVAILABLE, "the database is away");
    return conn;
}

static void on_slot(void *ctx, struct bus_msg *msg)
{
    struct payd *payd = ctx;
    struct err err = {{0}};
    struct payment_slot_request request;
    struct query_status status;
    size_t len;
    const char *text = bus_msg_data(msg, &len);
    if (payment_slot_request_decode(text, len, &request, &err) != 0) {
        refuse(payd, msg, "slot", PROBLEM_INVALID_FIELD, err.msg);
        return;
    }
    AUTO_PG_CONN struct pg_conn *conn = session(payd, msg, "slot");
    if (conn == NULL)
        return;
    struct payment_slot slot = {.chain_id = payd->target.domain.chain_id};
    memcpy(slot.contract, payd->target.domain.contract, 20);
    int64_t follower = atomic_load(&payd->follower);
    if (query_status(conn, follower, &status, &err) != 0 ||
        query_slot(conn, follower, &request, &slot, &err) != 0) {
        refuse(payd, msg, "slot", PROBLEM_UNAVAILABLE, "the database is away");
        return;
    }
    bool behind = status.head - status.cursor > LAG_BLOCKS;
    if (status.polled_ms > payd->settings->chain.stale_after_ms || behind) {
        refuse(payd, msg, "slot", PROBLEM_CHAIN_UNAVAILABLE,
               behind ? "payd has not read the chain up to its head"
                      : "no endpoint has answered for a while");
        return;
    }
    slot.head = status.cursor;
    answer(payd, msg, "slot", payment_slot_encode(&slot));
}

static void on_status(void *ctx, struct bus_msg *msg)
{
    struct payd *payd = ctx;
    struct query_status status;
    AUTO_PG_CONN struct pg_conn *conn = session(payd, msg, "status");
    if (conn == NULL)
        return;
    if (query_status(conn, atomic_load(&payd->follower), &status, NULL) != 0) {
        refuse(payd, msg, "status", PROBLEM_UNAVAILABLE, "the database is away");
        return;
    }
    struct payment_chain_status out = {.ok =
                                           status.polled_ms <= payd->settings->chain.stale_after_ms,
                                       .leader = status.led_ms <= LED_MS,
                                       .chain_id = payd->target.domain.chain_id,
                                       .head = status.head < 0 ? 0 : status.head,
                                       .confirmed = status.confirmed < 0 ? 0 : status.confirmed,
                                       .polled_at = status.polled_at};
    memcpy(out.contract, payd->target.domain.contract, 20);
    answer(payd, msg, "status", payment_chain_status_encode(&out));
}

static void on_activated(void *ctx, struct bus_msg *msg)
{
    struct payd *payd = ctx;
    struct err err = {{0}};
    struct payment_hint hint;
    bool known, current;
    size_t len;
    const char *text = bus_msg_data(msg, &len);
    if (payment_hint_decode(text, len, &hint, &err) != 0) {
        refuse(payd, msg, "activated", PROBLEM_INVALID_FIELD, err.msg);
        return;
    }
    AUTO_PG_CONN struct pg_conn *conn = session(payd, msg, "activated");
    if (conn == NULL)
        return;
    if (store_applied(conn, hint.payment_id, hint.revision, payd->metrics, &known, &current,
                      &err) != 0) {
        log_warn("an activation could not be written", LOG_STR(PAYMENT, hint.payment_id),
                 LOG_STR(ERROR, err.msg));
        refuse(payd, msg, "activated", PROBLEM_UNAVAILABLE, "the database is away");
    } else if (!known) {
        refuse(payd, msg, "activated", PROBLEM_NOT_FOUND, "there is no such payment");
    } else if (!current) {
        refuse(payd, msg, "activated", PROBLEM_CONFLICT, "the payment has moved on: read it again");
    } else {
        answer(payd, msg, "activated", mem_strdup("{\"ok\":true}"));
    }
}

int verbs_start(struct payd *payd, struct verbs **out, struct err *err)
{
    struct verbs *verbs = mem_zalloc(sizeof(*verbs));
    *out = verbs;
    if (bus_subscribe(payd->bus, PAYMENT_SUBJECT_SLOT, PAYMENT_QUEUE, on_slot, payd, &verbs->slot,
                      err) != 0 ||
        bus_subscribe(payd->bus, PAYMENT_SUBJECT_STATUS, PAYMENT_QUEUE, on_status, payd,
                      &verbs->status, err) != 0)
        return -1;
    return bus_subscribe(payd->bus, PAYMENT_SUBJECT_ACTIVATED, PAYMENT_QUEUE, on_activated, payd,
                         &verbs->activated, err);
}

void verbs_stop(struct verbs **verbs_ptr)
{
    struct verbs *verbs = *verbs_ptr;
    *verbs_ptr = NULL;
    if (verbs == NULL)
        return;
    bus_unsubscribe(&verbs->slot);
    bus_unsubscribe(&verbs->status);
    bus_unsubscribe(&verbs->activated);
    free(verbs);
}
