/* The table of routes, and the two that a subscriber reads with the token of that very
 * subscription: somebody else's does not exist for them. */
#include "services/subd/api.h"

#include "libcommon/json.h"
#include "libcommon/log.h"
#include "services/subd/api_token.h"
#include "services/subd/gauges.h"
#include "services/subd/keyring.h"
#include "services/subd/record.h"

#include <stdio.h>
#include <string.h>

static const struct pg_stmt quota_stmt = {
    "api_quota", "SELECT used_requests AS requests, used_bytes AS bytes, used_messages AS messages,"
                 " used_cost AS cost FROM quota WHERE subscription = $1 AND period = $2"};
static const struct pg_stmt today_stmt = {
    "api_today",
    "SELECT used_requests AS requests FROM quota_day WHERE subscription = $1 AND day = $2::date"};
static const struct pg_stmt days_stmt = {
    "api_days", "SELECT day::text AS day, sum(requests)::bigint AS requests,"
                " sum(bytes_in)::bigint AS bytes_in, sum(bytes_out)::bigint AS bytes_out,"
                " sum(messages)::bigint AS messages, sum(events)::bigint AS events,"
                " sum(cost)::bigint AS cost FROM usage_day WHERE subscription = $1"
                " GROUP BY day ORDER BY day DESC LIMIT 366"};

static bool check_claims(struct subd *subd, const json_t *claims, const char *id, bool *other)
{
    struct err ignored;
    const char *issuer, *subject;
    int64_t expires;
    if (json_get_str(claims, "iss", 512, &issuer, &ignored) ||
        strcmp(issuer, subd->settings->public_url) != 0 ||
        json_get_int(claims, "exp", 0, INT64_MAX, &expires, &ignored) ||
        expires <= clock_wall_s(subd->clock) ||
        json_get_str(claims, "sub", SUB_ID_LEN, &subject, &ignored))
        return false;
    *other = strcmp(subject, id) != 0;
    return true;
}

/* true: the bearer may read this subscription. false: refused. */
static bool authorised(struct http_request *request, struct subd *subd, const char *id)
{
    AUTO_JSON json_t *claims = NULL;
    struct err err;
    bool other = false;
    const char *token = http_bearer(request);
    if (!token) {
        http_reply_header(request, "WWW-Authenticate", "Bearer");
        http_reply_problem(request, PROBLEM_INVALID_TOKEN, "Authorization: Bearer is missing");
        return false;
    }
    if (keyring_verify(subd->keys, token, &claims, &err) ||
        !check_claims(subd, claims, id, &other)) {
        http_reply_header(request, "WWW-Authenticate", "Bearer error=\"invalid_token\"");
        http_reply_problem(request, PROBLEM_INVALID_TOKEN, NULL);
        return false;
    }
    if (other)
        http_reply_problem(request, PROBLEM_NOT_FOUND, "no such subscription for this token");
    return !other;
}

static void unavailable(struct http_request *request, const struct err *err)
{
    log_warn("a request is not answered", LOG_STR(REQUEST_ID, http_request_id(request)),
             LOG_STR(ERROR, err->msg));
    http_reply_header(request, "Retry-After", "1");
    http_reply_problem(request, PROBLEM_UNAVAILABLE, NULL);
}

/* false: answered. */
static bool load(struct http_request *request, struct subd *subd, struct pg_conn **conn,
                 struct record *record)
{
    const char *id = http_param(request, "id");
    struct err err;
    bool found;
    if (!authorised(request, subd, id))
        return false;
    if (subd_session(subd, conn, &err) ||
        record_get(*conn, id, false, clock_wall_s(subd->clock), record, &found, &err)) {
        unavailable(request, &err);
        return false;
    }
    if (!found)
        http_reply_problem(request, PROBLEM_NOT_FOUND, "no such subscription");
    return found;
}

static void get_subscription(struct http_request *request, void *ctx)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    struct record record;
    if (load(request, ctx, &conn, &record))
        http_reply_json(request, 200, sub_record_encode(&record.pub));
}

static json_t *days_json(const PGresult *days)
{
    static const char *const columns[] = {"requests", "bytes_in", "bytes_out",
                                          "messages", "events",   "cost"};
    json_t *list = json_array();
    for (int row = 0; row < PQntuples(days); row++) {
        json_t *day = json_pack("{s:s}", "day", pg_text(days, row, "day"));
        for (size_t i = 0; i < ARRAY_LEN(columns); i++)
            json_object_set_new(day, columns[i], json_integer(pg_int(days, row, columns[i])));
        json_array_append_new(list, day);
    }
    return list;
}

struct amounts {
    json_t *limits, *used, *left;
};

/* Without a limit what is left is null. */
static void set_amount(struct amounts *out, const char *name, int64_t limit, int64_t used)
{
    json_object_set_new(out->used, name, json_integer(used));
    json_object_set_new(out->limits, name, limit ? json_integer(limit) : json_null());
    json_object_set_new(out->left, name,
                        limit ? json_integer(used < limit ? limit - used : 0) : json_null());
}

static json_t *usage_json(const struct sub_record *record, const PGresult *quota, const char *today,
                          int64_t used_today, const PGresult *days)
{
    struct amounts amounts = {json_object(), json_object(), json_object()};
    for (int i = 0; i < SUB_KINDS; i++) {
        const char *kind = sub_kind_name((enum sub_kind)i);
        set_amount(&amounts, kind, record->limits.quota[i],
                   PQntuples(quota) ? pg_int(quota, 0, kind) : 0);
    }
    set_amount(&amounts, "requests_per_day", record->limits.requests_per_day, used_today);
    return json_pack("{s:s, s:s, s:{s:I, s:I}, s:s, s:o, s:o, s:o, s:o}", "subscription",
                     record->id, "state", sub_state_name(record->state), "period", "start",
                     (json_int_t)record->period_start, "end", (json_int_t)record->period_end, "day",
                     today, "limits", amounts.limits, "used", amounts.used, "left", amounts.left,
                     "days", days_json(days));
}

static void get_usage(struct http_request *request, void *ctx)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    AUTO_PG_RESULT PGresult *quota = NULL;
    AUTO_PG_RESULT PGresult *today = NULL;
    AUTO_PG_RESULT PGresult *days = NULL;
    struct subd *subd = ctx;
    struct record record;
    struct err err;
    char day[11];
    clock_day(clock_wall_s(subd->clock), day);
    if (!load(request, ctx, &conn, &record))
        return;
    if (pg_run(conn, &quota_stmt, PG_PARAMS(record.pub.id, pg_num(record.pub.period_start).s),
               &quota, &err) ||
        pg_run(conn, &today_stmt, PG_PARAMS(record.pub.id, day), &today, &err) ||
        pg_run(conn, &days_stmt, PG_PARAMS(record.pub.id), &days, &err)) {
        unavailable(request, &err);
        return;
    }
    http_reply_json(request, 200,
                    usage_json(&record.pub, quota, day,
                               PQntuples(today) ? pg_int(today, 0, "requests") : 0, days));
}

static void get_keys(struct http_request *request, void *ctx)
{
    struct subd *subd = ctx;
    const char *text = keyring_jwks(subd->keys);
    http_reply_header(request, "Cache-Control", "public, max-age=60");
    http_reply_text(request, 200, "application/json", text, strlen(text));
}

#define BODY_MAX 8192

static const struct http_route routes[] = {
    {"POST", "/token/challenge", api_token_challenge, HTTP_NO_STORE | HTTP_CORS, BODY_MAX},
    {"POST", "/token", api_token_issue, HTTP_NO_STORE | HTTP_CORS, BODY_MAX},
    {"POST", "/token/refresh", api_token_refresh, HTTP_NO_STORE | HTTP_CORS, BODY_MAX},
    {"GET", "/subscription/{id}", get_subscription, HTTP_NO_STORE | HTTP_CORS, 0},
    {"GET", "/usage/{id}", get_usage, HTTP_NO_STORE | HTTP_CORS, 0},
    {"GET", "/.well-known/jwks.json", get_keys, HTTP_CORS, 0},
};

static void observe(void *ctx, const struct http_route *route, unsigned status, double seconds)
{
    struct subd *subd = ctx;
    char text[8];
    const char *path = route ? route->path : "none";
    snprintf(text, sizeof(text), "%u", status % 1000);
    metrics_count(subd->metrics, GAUGES_HTTP, path, text);
    metric_observe(metrics_cell(subd->metrics, GAUGES_HTTP_SECONDS, (const char *const[]){path}),
                   seconds);
}

int api_start(struct subd *subd, struct http_server **out, struct err *err)
{
    struct http_server_options options = {
        .address = subd->settings->http.address,
        .threads = (unsigned)subd->settings->http.threads,
        .routes = routes,
        .route_count = ARRAY_LEN(routes),
        .ctx = subd,
        .trusted_proxies = &subd->settings->http.trusted_proxies,
        .observe = observe,
    };
    return http_server_start(&options, out, err);
}
