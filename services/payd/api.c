/* The public answers of payd, out of PostgreSQL and never out of the leader's memory, so that every
 * instance gives the same. */
#include "services/payd/api.h"

#include "libcommon/eth/hex.h"
#include "libcommon/log.h"
#include "services/payd/gauges.h"
#include "services/payd/query.h"

#define ACQUIRE_MS 1000

/* -1: refused. */
static int id_of(struct http_request *request, const char *name, char out[67])
{
    uint8_t digest[32];
    if (hex_decode(http_param(request, name), digest, sizeof(digest)) != 0) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD, "%s: not 0x and 64 hex digits", name);
        return -1;
    }
    hex_encode(digest, sizeof(digest), out);
    return 0;
}

static void refuse_away(struct http_request *request)
{
    http_reply_header(request, "Retry-After", "2");
    http_reply_problem(request, PROBLEM_UNAVAILABLE, "The database is away.");
}

static void on_payment(struct http_request *request, void *ctx)
{
    struct payd *payd = ctx;
    struct err err = {{0}};
    char id[67];
    json_t *payment;
    if (id_of(request, "quote_id", id) != 0)
        return;
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (atomic_load(&payd->follower) == 0 || pg_acquire(payd->pg, ACQUIRE_MS, &conn, &err) != 0 ||
        query_payment(conn, id, payd->settings->chain.confirmations, &payment, &err) != 0) {
        refuse_away(request);
        return;
    }
    if (payment == NULL)
        http_reply_problem(request, PROBLEM_NOT_FOUND,
                           "No payment of this quote has been seen on the chain yet.");
    else
        http_reply_json(request, 200, payment);
}

/* Whether the state is one that a receipt stands for; otherwise refused. */
static bool receipted(struct http_request *request, enum ledger_state state)
{
    switch (state) {
    case LEDGER_CONFIRMED:
    case LEDGER_ACTIVATED:
        return true;
    case LEDGER_SEEN:
    case LEDGER_CONFIRMING:
        http_reply_header(request, "Retry-After", "2");
        http_reply_problem(request, PROBLEM_PAYMENT_PENDING, "The payment is not confirmed yet.");
        return false;
    case LEDGER_REFUNDED:
        http_reply_problem(request, PROBLEM_RECEIPT_WITHDRAWN,
                           "The payment was refunded: no receipt is given for it any more.");
        return false;
    case LEDGER_ORPHANED:
    case LEDGER_REJECTED:
        http_reply_problem(request, PROBLEM_CONFLICT, "The payment is %s: there is no receipt.",
                           ledger_name(state));
        return false;
    }
    return false;
}

static void reply_receipt(struct http_request *request, struct payd *payd,
                          struct query_receipt *found)
{
    struct err err = {{0}};
    json_t *json;
    if (receipt_json(&payd->target.domain, &found->receipt, payd->receipt_key, &json, &err) != 0) {
        log_error("a receipt could not be signed", LOG_STR(ERROR, err.msg));
        http_reply_problem(request, PROBLEM_INTERNAL, "The receipt could not be signed.");
        return;
    }
    json_object_set(json, "sold", found->sold);
    http_reply_json(request, 200, json);
}

static void on_receipt(struct http_request *request, void *ctx)
{
    struct payd *payd = ctx;
    struct err err = {{0}};
    struct query_receipt found = {0};
    bool any;
    char id[67];
    if (id_of(request, "payment_id", id) != 0)
        return;
    if (payd->receipt_key == NULL) {
        http_reply_problem(request, PROBLEM_NO_RECEIPTS,
                           "This operator has no key that signs receipts.");
        return;
    }
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (atomic_load(&payd->follower) == 0 || pg_acquire(payd->pg, ACQUIRE_MS, &conn, &err) != 0 ||
        query_receipt(conn, atomic_load(&payd->follower), id, &found, &any, &err) != 0) {
        refuse_away(request);
        return;
    }
    if (!any)
        http_reply_problem(request, PROBLEM_NOT_FOUND,
                           "No payment of this quote has been seen on the chain yet.");
    else if (receipted(request, found.state))
        reply_receipt(request, payd, &found);
    json_decref(found.sold);
}

static const struct http_route routes[] = {
    {"GET", "/receipt/{payment_id}", on_receipt, HTTP_NO_STORE | HTTP_CORS, 0},
    {"GET", "/payment/{quote_id}", on_payment, HTTP_NO_STORE | HTTP_CORS, 0},
};

static void observe(void *ctx, const struct http_route *route, unsigned status, double seconds)
{
    static const char *const classes[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
    struct payd *payd = ctx;
    (void)route, (void)seconds;
    metrics_count(payd->metrics, GAUGES_HTTP, classes[status / 100 < 6 ? status / 100 : 0], NULL);
}

int api_start(struct payd *payd, struct http_server **out, struct err *err)
{
    struct http_server_options options = {.address = payd->settings->http.address,
                                          .threads = (unsigned)payd->settings->http.threads,
                                          .routes = routes,
                                          .route_count = ARRAY_LEN(routes),
                                          .ctx = payd,
                                          .trusted_proxies = &payd->settings->http.trusted_proxies,
                                          .observe = observe};
    return http_server_start(&options, out, err);
}
