/* Activation: reads the payment that a hint names, applies it, and tells payd. payd repeats a hint
 * until it has an answer, and the sweep finds what no hint told of, so a lost one only delays. */
#include "services/subd/payments.h"

#include "libcommon/client/chain_client.h"
#include "libcommon/log.h"
#include "services/subd/fold.h"
#include "services/subd/gauges.h"
#include "services/subd/ticker.h"

#include <stdio.h>
#include <string.h>

#define SWEEP_MS      10000
#define SWEEP_SOON_MS 1000
#define RETRY_MS      1000
#define DELIVERIES    5 /* of one hint; then payd's next one and the sweep try it again */
#define TELL_MS       5000
#define ACK_WAIT_MS   30000

struct payments {
    struct subd *subd;
    struct bus_consumer *consumer;
    struct ticker *sweep;
};

/* Two who read the same payment apply it one after the other, the second as it stands then: nobody
 * comes late with an older state. */
static const struct pg_stmt lock_stmt = {"payments_lock",
                                         "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"};
static const struct pg_stmt find_stmt = {
    "payments_find", "SELECT " FOLD_COLUMNS " FROM payments.payment_v1 p WHERE p.payment_id = $1"};
/* What is not applied as it stands, and what is applied where payd does not know: the latter last,
 * for a payment that waits to be sent back stays among them. */
static const struct pg_stmt sweep_stmt = {
    "payments_sweep",
    "SELECT p.payment_id FROM payments.payment_v1 p"
    " LEFT JOIN subscription_payment s ON s.payment_id = p.payment_id"
    " WHERE p.state = 'confirmed' OR ((p.revision > coalesce(s.revision, 0) OR"
    " p.state NOT IN ('seen', 'confirming')) AND"
    " ((p.state = 'activated') <> coalesce(s.counts, false) OR (coalesce(s.refunded, false) AND"
    " p.state <> 'refunded') OR (p.state = 'refunded' AND NOT coalesce(s.refunded, false) AND"
    " EXISTS (SELECT FROM quotes.service_v1 q WHERE q.service_id = p.service_id))))"
    " ORDER BY p.revision <= coalesce(s.revision, 0), p.start_at, p.seq LIMIT 256"};

static void count(struct payments *payments, const char *result)
{
    metrics_count(payments->subd->metrics, GAUGES_ACTIVATIONS, result, NULL);
}

static int transact(struct payments *payments, struct pg_conn *conn, const char *id,
                    struct fold_payment *payment, struct fold_outcome *outcome, bool *known,
                    struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    if (pg_begin(conn, err) || pg_run(conn, &lock_stmt, PG_PARAMS(id), NULL, err) ||
        pg_run(conn, &find_stmt, PG_PARAMS(id), &row, err))
        return -1;
    *known = PQntuples(row) > 0;
    if (!*known)
        return pg_commit(conn, err);
    if (fold_read(row, 0, payment, err) ||
        fold_apply(conn, payment, clock_wall_s(payments->subd->clock), outcome, err))
        return -1;
    return pg_commit(conn, err);
}

/* Applies the payment as payd has it now. *known false: it has none of that id. */
static int apply(struct payments *payments, struct pg_conn *conn, const char *id,
                 struct fold_payment *payment, bool *known, bool *refused, struct err *err)
{
    struct subd *subd = payments->subd;
    struct fold_outcome outcome = {.result = FOLD_NOTED};
    if (transact(payments, conn, id, payment, &outcome, known, err)) {
        pg_rollback(conn);
        count(payments, "failed");
        return -1;
    }
    *refused = outcome.refused;
    if (outcome.back) {
        metrics_count(subd->metrics, GAUGES_ALERTS, "payments-restored", NULL);
        log_error("a payment's revision has gone back: payd's tables come from a backup; it is "
                  "applied as it stands there",
                  LOG_STR(PAYMENT, payment->id), LOG_INT(REVISION, payment->revision));
    }
    if (!*known)
        return 0;
    if (outcome.result == FOLD_APPLIED) {
        state_announce(subd->metrics, payment->subscription, outcome.version, outcome.from,
                       outcome.to, outcome.event);
        log_info("payment applied", LOG_STR(PAYMENT, payment->id),
                 LOG_INT(REVISION, payment->revision),
                 LOG_STR(SUBSCRIPTION, payment->subscription));
        subd_changed(subd);
    }
    if (outcome.result == FOLD_CLOSED) {
        metrics_count(subd->metrics, GAUGES_ALERTS, "paid-while-revoked", NULL);
        log_error("a payment for a revoked subscription is owed back",
                  LOG_STR(PAYMENT, payment->id), LOG_INT(REVISION, payment->revision),
                  LOG_STR(SUBSCRIPTION, payment->subscription));
    }
    count(payments, outcome.result == FOLD_KNOWN ? "known" : "applied");
    return 0;
}

/* A refusal is told of every time: payd may not have been able to send the money back. */
static int tell(struct payments *payments, const struct fold_payment *payment, bool refused,
                struct err *err)
{
    struct payment_hint done = {.revision = payment->revision};
    if (refused)
        snprintf(done.refused, sizeof(done.refused), "%s", PAYMENT_REFUSED_REVOKED);
    snprintf(done.payment_id, sizeof(done.payment_id), "%s", payment->id);
    snprintf(done.subscription, sizeof(done.subscription), "%s", payment->subscription);
    return chain_client_activated(payments->subd->bus, &done, TELL_MS, err);
}

static int activate(struct payments *payments, const struct payment_hint *hint, struct err *err)
{
    struct fold_payment payment;
    bool known, refused;
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (subd_session(payments->subd, &conn, err) ||
        apply(payments, conn, hint->payment_id, &payment, &known, &refused, err))
        return -1;
    if (!known) {
        metrics_count(payments->subd->metrics, GAUGES_ALERTS, "unknown-payment", NULL);
        log_error("hint of a payment that payd does not have", LOG_STR(PAYMENT, hint->payment_id),
                  LOG_INT(REVISION, hint->revision));
        return 0;
    }
    pg_release(&conn);
    return tell(payments, &payment, refused, err);
}

static void on_hint(void *ctx, struct bus_msg *msg)
{
    struct payments *payments = ctx;
    struct payment_hint hint;
    struct err err;
    size_t len;
    const char *text = bus_msg_data(msg, &len);
    if (payment_hint_decode(text, len, &hint, &err)) {
        log_error("malformed hint of a payment", LOG_STR(SUBJECT, bus_msg_subject(msg)),
                  LOG_STR(ERROR, err.msg));
        bus_msg_ack(msg);
        return;
    }
    if (activate(payments, &hint, &err)) {
        log_warn("payment is not activated yet", LOG_STR(PAYMENT, hint.payment_id),
                 LOG_INT(REVISION, hint.revision), LOG_STR(ERROR, err.msg));
        /* payd repeats the hint until it has an answer: what cannot be applied would pile up until
         * the consumer takes no others. */
        if (bus_msg_deliveries(msg) < DELIVERIES) {
            bus_msg_nak(msg, RETRY_MS);
            return;
        }
    }
    bus_msg_ack(msg);
}

static void warn(const char *payment, const struct err *err)
{
    log_warn("payment is not activated yet", LOG_STR(PAYMENT, payment), LOG_STR(ERROR, err->msg));
}

/* Ends early where payd does not answer: it would be asked in vain for every row. */
static int sweep_once(struct payments *payments, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    AUTO_PG_RESULT PGresult *rows = NULL;
    if (subd_session(payments->subd, &conn, err) || pg_run(conn, &sweep_stmt, NULL, 0, &rows, err))
        return -1;
    for (int row = 0; row < PQntuples(rows); row++) {
        struct fold_payment payment;
        const char *id = pg_text(rows, row, "payment_id");
        bool known, refused;
        if (apply(payments, conn, id, &payment, &known, &refused, err)) {
            warn(id, err);
        } else if (known && tell(payments, &payment, refused, err)) {
            warn(id, err);
            return 0;
        }
    }
    return 0;
}

static int64_t sweep(void *ctx)
{
    struct payments *payments = ctx;
    struct err err;
    if (!atomic_load(&payments->subd->migrated))
        return SWEEP_SOON_MS;
    if (sweep_once(payments, &err))
        log_debug("cannot read payments", LOG_STR(ERROR, err.msg));
    return SWEEP_MS;
}

int payments_start(struct subd *subd, struct payments **out, struct err *err)
{
    struct payments *payments = mem_zalloc(sizeof(*payments));
    *out = payments;
    payments->subd = subd;
    if (bus_consume(subd->bus, PAYMENT_STREAM, "subd", ACK_WAIT_MS, on_hint, payments,
                    &payments->consumer, err))
        return -1;
    return ticker_start("payments", sweep, payments, &payments->sweep, err);
}

void payments_stop(struct payments **ptr)
{
    struct payments *payments = *ptr;
    if (!payments)
        return;
    *ptr = NULL;
    bus_consumer_stop(&payments->consumer);
    ticker_stop(&payments->sweep);
    free(payments);
}
