/* Answers requests on the bus out of PostgreSQL. A slot is told of only while the chain is followed
 * up to its head, or as near as a poll leaves it: a quote made of an old slot could not be paid. */
#include "services/payd/verbs.h"

#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/problem.h"
#include "libcommon/proto/payment.h"
#include "services/payd/gauges.h"
#include "services/payd/query.h"
#include "services/payd/refunds.h"
#include "services/payd/store.h"
#include "services/payd/wallet.h"

#include <string.h>

#define ACQUIRE_MS 1000
#define LED_MS     10000
#define LAG_BLOCKS 2 /* a leader at work is this far behind the head that it saw */

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
    const char *unwell = query_unwell(&status, payd->settings->chain.stale_after_ms);
    if (unwell != NULL || behind) {
        refuse(payd, msg, "slot", PROBLEM_CHAIN_UNAVAILABLE,
               behind ? "payd has not read the chain up to its head" : unwell);
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
    const char *unwell = query_unwell(&status, payd->settings->chain.stale_after_ms);
    struct payment_chain_status out = {.ok = unwell == NULL,
                                       .leader = status.led_ms <= LED_MS,
                                       .chain_id = payd->target.domain.chain_id,
                                       .head = status.head < 0 ? 0 : status.head,
                                       .confirmed = status.confirmed < 0 ? 0 : status.confirmed,
                                       .polled_at = status.polled_at};
    memcpy(out.contract, payd->target.domain.contract, 20);
    answer(payd, msg, "status", payment_chain_status_encode(&out));
}

static struct refunds refunds_of(struct payd *payd, struct pg_conn *conn)
{
    return (struct refunds){.conn = conn,
                            .follower = atomic_load(&payd->follower),
                            .target = &payd->target,
                            .now_s = clock_wall_s(&clock_system),
                            .wallet = wallet_configured(payd)};
}

/* subd asks again until it is sent back, so a failure here only delays; the log tells of it once.
 */
static void send_back(struct payd *payd, struct pg_conn *conn, const char *payment)
{
    struct refunds refunds = refunds_of(payd, conn);
    struct err err = {{0}};
    bool added = false;
    if (!payd->settings->refunds.revoked)
        return;
    enum problem problem = refunds_refused(&refunds, payment, &added, &err);
    bool told = atomic_exchange(&payd->refund_held, problem != PROBLEM_NONE);
    if (added && problem == PROBLEM_NONE)
        log_warn("a payment for a revoked subscription is sent back", LOG_STR(PAYMENT, payment));
    if (problem != PROBLEM_NONE && !told)
        log_error("a payment for a revoked subscription cannot be sent back",
                  LOG_STR(PAYMENT, payment), LOG_STR(ERROR, err.msg));
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
    bool refused = hint.refused[0] != '\0';
    AUTO_PG_CONN struct pg_conn *conn = session(payd, msg, "activated");
    if (conn == NULL)
        return;
    if (store_applied(conn, hint.payment_id, hint.revision, refused, payd->metrics, &known,
                      &current, &err) != 0) {
        log_warn("an activation could not be written", LOG_STR(PAYMENT, hint.payment_id),
                 LOG_STR(ERROR, err.msg));
        refuse(payd, msg, "activated", PROBLEM_UNAVAILABLE, "the database is away");
    } else if (!known) {
        refuse(payd, msg, "activated", PROBLEM_NOT_FOUND, "there is no such payment");
    } else if (!current) {
        refuse(payd, msg, "activated", PROBLEM_CONFLICT, "the payment has moved on: read it again");
    } else {
        answer(payd, msg, "activated", mem_strdup("{\"ok\":true}"));
        if (refused)
            send_back(payd, conn, hint.payment_id);
    }
}

/* What an operator asks: decoded strictly, done in one transaction, answered with what it is now.
 */
static void conclude(struct payd *payd, struct bus_msg *msg, const char *verb, enum problem problem,
                     json_t *out, const struct err *err)
{
    AUTO_JSON json_t *owned = out;
    if (problem == PROBLEM_NONE)
        answer(payd, msg, verb, json_text(owned));
    else if (problem == PROBLEM_UNAVAILABLE)
        refuse(payd, msg, verb, problem, "the database is away");
    else
        refuse(payd, msg, verb, problem, err->msg);
    if (problem == PROBLEM_UNAVAILABLE)
        log_warn("an operator's request failed", LOG_STR(NAME, verb), LOG_STR(ERROR, err->msg));
}

/* REQUEST: type of the request; both functions take a pointer to it. */
#define OPERATOR(handler, verb, REQUEST, decode, act)                                              \
    static void handler(void *ctx, struct bus_msg *msg)                                            \
    {                                                                                              \
        struct payd *payd = ctx;                                                                   \
        struct err err = {{0}};                                                                    \
        struct REQUEST request;                                                                    \
        json_t *out = NULL;                                                                        \
        size_t len;                                                                                \
        const char *text = bus_msg_data(msg, &len);                                                \
        if (decode(text, len, &request, &err) != 0) {                                              \
            refuse(payd, msg, verb, PROBLEM_INVALID_FIELD, err.msg);                               \
            return;                                                                                \
        }                                                                                          \
        AUTO_PG_CONN struct pg_conn *conn = session(payd, msg, verb);                              \
        if (conn == NULL)                                                                          \
            return;                                                                                \
        struct refunds refunds = refunds_of(payd, conn);                                           \
        enum problem problem = act(&refunds, &request, &out, &err);                                \
        conclude(payd, msg, verb, problem, out, &err);                                             \
    }

OPERATOR(on_refund, "refund", treasury_refund, treasury_refund_decode, refunds_payment)
OPERATOR(on_refund_transfer, "refund-transfer", treasury_refund, treasury_transfer_decode,
         refunds_transfer)
OPERATOR(on_withdraw, "withdraw", treasury_withdraw, treasury_withdraw_decode, refunds_withdraw)
OPERATOR(on_set_revoked, "set-revoked", treasury_revoke, treasury_revoke_decode, refunds_revoke)

static const struct {
    const char *subject;
    bus_handler *handler;
} table[] = {
    {PAYMENT_SUBJECT_SLOT, on_slot},
    {PAYMENT_SUBJECT_STATUS, on_status},
    {PAYMENT_SUBJECT_ACTIVATED, on_activated},
    {TREASURY_SUBJECT_REFUND, on_refund},
    {TREASURY_SUBJECT_REFUND_TRANSFER, on_refund_transfer},
    {TREASURY_SUBJECT_WITHDRAW, on_withdraw},
    {TREASURY_SUBJECT_SET_REVOKED, on_set_revoked},
};

struct verbs {
    struct bus_sub *subs[ARRAY_LEN(table)];
};

int verbs_start(struct payd *payd, struct verbs **out, struct err *err)
{
    struct verbs *verbs = mem_zalloc(sizeof(*verbs));
    *out = verbs;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (bus_subscribe(payd->bus, table[i].subject, PAYMENT_QUEUE, table[i].handler, payd,
                          &verbs->subs[i], err) != 0)
            return -1;
    }
    return 0;
}

void verbs_stop(struct verbs **verbs_ptr)
{
    struct verbs *verbs = *verbs_ptr;
    *verbs_ptr = NULL;
    if (verbs == NULL)
        return;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        bus_unsubscribe(&verbs->subs[i]);
    free(verbs);
}
