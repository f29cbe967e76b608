/* The public answers of payd, out of PostgreSQL and never out of the leader's memory, so that every
 * instance gives the same. */
#include "services/payd/api.h"

#include "libcommon/eth/hex.h"
#include "libcommon/log.h"
#include "services/payd/gauges.h"
#include "services/payd/query.h"

#define ACQUIRE_MS 1000

static void on_payment(struct http_request *request, void *ctx)
{
    struct payd *payd = ctx;
    struct err err = {{0}};
    uint8_t digest[32];
    char id[67];
    json_t *payment;
    if (hex_decode(http_param(request, "quote_id"), digest, sizeof(digest)) != 0) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD, "quote_id: not 0x and 64 hex digits");
        return;
    }
    hex_encode(digest, sizeof(digest), id);
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (atomic_load(&payd->follower) == 0 || pg_acquire(payd->pg, ACQUIRE_MS, &conn, &err) != 0 ||
        query_payment(conn, id, payd->settings->chain.confirmations, &payment, &err) != 0) {
        http_reply_header(request, "Retry-After", "2");
        http_reply_problem(request, PROBLEM_UNAVAILABLE, "The database is away.");
        return;
    }
    if (payment == NULL)
        http_reply_problem(request, PROBLEM_NOT_FOUND,
                           "No payment of this quote has been seen on the chain yet.");
    else
        http_reply_json(request, 200, payment);
}

static const struct http_route routes[] = {
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
                                          .observe = observe};
    return http_server_start(&options, out, err);
}
