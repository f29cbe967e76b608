/* The consumer of usage: decodes, applies, and acks only what is in the ledger or parked. */
#include "services/subd/ledger.h"

#include "libcommon/eth/hex.h"
#include "libcommon/log.h"
#include "services/subd/gauges.h"
#include "services/subd/ticker.h"

#include <openssl/sha.h>
#include <string.h>

#define ACK_WAIT_MS 30000
#define EARLY_MS    200
#define FAILED_MS   1000
#define SWEEP_MS    5000

struct ledger {
    struct subd *subd;
    struct bus_consumer *consumer;
    struct ticker *sweep;
};

static void count(struct ledger *ledger, const char *result)
{
    metrics_count(ledger->subd->metrics, GAUGES_BATCHES, result, NULL);
}

static void alert(struct ledger *ledger, const char *what)
{
    metrics_count(ledger->subd->metrics, GAUGES_ALERTS, what, NULL);
}

static void digest(const void *data, size_t len, char out[65])
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    SHA256(data, len, hash);
    hex_encode_bare(hash, sizeof(hash), out);
}

/* Acked only once it is kept. */
static void park(struct ledger *ledger, struct pg_conn *conn, struct bus_msg *msg, const char *what,
                 const char *reason)
{
    size_t len;
    const char *data = bus_msg_data(msg, &len);
    char sha256[65];
    struct err err;
    digest(data, len, sha256);
    alert(ledger, what);
    log_error("usage batch is parked", LOG_STR(SUBJECT, bus_msg_subject(msg)),
              LOG_STR(REASON, reason), LOG_STR(HASH, sha256));
    if (ledger_park(conn, bus_msg_subject(msg), data, len, sha256, reason, &err)) {
        log_warn("usage batch cannot be parked", LOG_STR(ERROR, err.msg));
        bus_msg_nak(msg, FAILED_MS);
        return;
    }
    count(ledger, "parked");
    bus_msg_ack(msg);
}

static void applied(struct ledger *ledger, const struct usage_batch *batch, int64_t strange)
{
    count(ledger, "applied");
    metric_add(metrics_cell(ledger->subd->metrics, GAUGES_ENTRIES, NULL), (int64_t)batch->count);
    if (strange == 0)
        return;
    alert(ledger, "unknown-lease");
    log_error("usage on a lease that its journal does not hold", LOG_STR(JOURNAL, batch->journal),
              LOG_INT(SEQ, batch->seq), LOG_INT(COUNT, strange));
}

static void settle(struct ledger *ledger, struct pg_conn *conn, struct bus_msg *msg,
                   const struct usage_batch *batch, enum ledger_result result, int64_t strange)
{
    switch (result) {
    case LEDGER_APPLIED:
        applied(ledger, batch, strange);
        bus_msg_ack(msg);
        return;
    case LEDGER_REPEATED:
        count(ledger, "repeated");
        bus_msg_ack(msg);
        return;
    case LEDGER_KEPT:
        count(ledger, "kept");
        bus_msg_ack(msg);
        return;
    case LEDGER_EARLY:
        count(ledger, "early");
        bus_msg_nak(msg, EARLY_MS);
        return;
    case LEDGER_DIFFERING:
        park(ledger, conn, msg, "differing-batch", "another batch of this seq was applied");
        return;
    case LEDGER_FENCED:
        park(ledger, conn, msg, "fenced-journal", "the journal is fenced");
        return;
    }
}

/* The kept batch whose turn it is. false: there is none, or it is not applied. */
static bool follow_one(struct ledger *ledger, struct pg_conn *conn, const char *journal)
{
    AUTO_FREE char *text = NULL;
    struct usage_batch batch = {0};
    struct err err;
    char sha256[65];
    enum ledger_result result;
    int64_t strange;
    if (ledger_next(conn, journal, &text, &err) || !text)
        return false;
    digest(text, strlen(text), sha256);
    int failed = usage_batch_decode(text, strlen(text), &batch, &err) ||
                 ledger_apply(conn, &batch, text, sha256, &result, &strange, &err);
    if (failed) {
        alert(ledger, "stuck-batch");
        log_error("kept usage batch is not applied", LOG_STR(JOURNAL, journal),
                  LOG_STR(ERROR, err.msg));
    } else if (result == LEDGER_APPLIED) {
        applied(ledger, &batch, strange);
    }
    usage_batch_clear(&batch);
    return !failed && (result == LEDGER_APPLIED || result == LEDGER_REPEATED);
}

static void follow(struct ledger *ledger, struct pg_conn *conn, const char *journal)
{
    while (follow_one(ledger, conn, journal))
        ;
}

/* Batches are kept by one transaction and applied by another: who dies between them is made good
 * here. */
static int64_t sweep(void *ctx)
{
    struct ledger *ledger = ctx;
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    AUTO_PG_RESULT PGresult *rows = NULL;
    struct err err;
    if (subd_session(ledger->subd, &conn, &err) || ledger_waiting(conn, &rows, &err))
        return SWEEP_MS;
    for (int row = 0; row < PQntuples(rows); row++)
        follow(ledger, conn, pg_text(rows, row, "journal"));
    return SWEEP_MS;
}

static void work(struct ledger *ledger, struct pg_conn *conn, struct bus_msg *msg,
                 const struct usage_batch *batch)
{
    size_t len;
    const char *text = bus_msg_data(msg, &len);
    char sha256[65];
    enum ledger_result result;
    int64_t strange;
    struct err err;
    digest(text, len, sha256);
    if (strcmp(bus_msg_subject(msg) + strlen(USAGE_SUBJECT), batch->journal) != 0) {
        park(ledger, conn, msg, "malformed-batch", "the subject names another journal");
        return;
    }
    if (ledger_apply(conn, batch, text, sha256, &result, &strange, &err)) {
        if (strncmp(pg_sqlstate(conn), "22", 2) == 0) { /* bad data: it will not get better */
            park(ledger, conn, msg, "malformed-batch", err.msg);
            return;
        }
        count(ledger, "failed");
        log_warn("usage batch is not applied yet", LOG_STR(JOURNAL, batch->journal),
                 LOG_INT(SEQ, batch->seq), LOG_STR(ERROR, err.msg));
        bus_msg_nak(msg, FAILED_MS);
        return;
    }
    settle(ledger, conn, msg, batch, result, strange);
    if (result == LEDGER_APPLIED || result == LEDGER_KEPT)
        follow(ledger, conn, batch->journal);
}

static void on_batch(void *ctx, struct bus_msg *msg)
{
    struct ledger *ledger = ctx;
    struct usage_batch batch = {0};
    struct err err, why;
    size_t len;
    const char *text = bus_msg_data(msg, &len);
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (subd_session(ledger->subd, &conn, &err)) {
        bus_msg_nak(msg, FAILED_MS);
        return;
    }
    if (strncmp(bus_msg_subject(msg), USAGE_SUBJECT, strlen(USAGE_SUBJECT)) != 0)
        park(ledger, conn, msg, "malformed-batch", "another subject");
    else if (usage_batch_decode(text, len, &batch, &why))
        park(ledger, conn, msg, "malformed-batch", why.msg);
    else
        work(ledger, conn, msg, &batch);
    usage_batch_clear(&batch);
}

int ledger_start(struct subd *subd, struct ledger **out, struct err *err)
{
    struct ledger *ledger = mem_zalloc(sizeof(*ledger));
    *out = ledger;
    ledger->subd = subd;
    if (bus_consume(subd->bus, USAGE_STREAM, "subd", ACK_WAIT_MS, on_batch, ledger,
                    &ledger->consumer, err))
        return -1;
    return ticker_start("ledger", sweep, ledger, &ledger->sweep, err);
}

void ledger_stop(struct ledger **ptr)
{
    struct ledger *ledger = *ptr;
    if (!ledger)
        return;
    *ptr = NULL;
    bus_consumer_stop(&ledger->consumer);
    ticker_stop(&ledger->sweep);
    free(ledger);
}
