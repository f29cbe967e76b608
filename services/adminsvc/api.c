/* The handlers of the admin API, and the table of who may call them. */
#include "services/adminsvc/api.h"

#include "libcommon/client/sub_client.h"
#include "libcommon/eth/hex.h"
#include "services/adminsvc/audit.h"
#include "services/adminsvc/call.h"
#include "services/adminsvc/cursor.h"
#include "services/adminsvc/gauges.h"
#include "services/adminsvc/page.h"
#include "services/adminsvc/subs.h"
#include "services/adminsvc/treasury.h"

#include <stdio.h>
#include <string.h>

#define BODY_MAX 4096

static bool is_seq(const char *text, size_t len)
{
    return len >= 1 && len <= 18 && strspn(text, "0123456789") == len;
}

static int filter_state(struct call *call, const char **out)
{
    enum sub_state state;
    *out = http_query(call->request, "state");
    if (*out == NULL)
        *out = "";
    if ((*out)[0] == '\0' || (sub_state_parse(*out, &state) == 0 && state != SUB_UNKNOWN))
        return 0;
    call_refuse(call, PROBLEM_INVALID_FIELD,
                "state: must be pending, active, suspended, expired or revoked");
    return -1;
}

static int filter_service(struct call *call, const char **out)
{
    *out = http_query(call->request, "service");
    if (*out == NULL)
        *out = "";
    if (strlen(*out) <= 63 &&
        strspn(*out, "abcdefghijklmnopqrstuvwxyz0123456789-_") == strlen(*out))
        return 0;
    call_refuse(call, PROBLEM_INVALID_FIELD, "service: must be a service's name");
    return -1;
}

static void list_subscriptions(struct call *call)
{
    struct subs_filter filter = {0};
    char subscriber[43];
    char after[SUB_ID_LEN + 1];
    json_t *items = NULL;
    bool more;
    struct err err;
    if (filter_state(call, &filter.state) != 0 || filter_service(call, &filter.service) != 0 ||
        page_subscriber(call, subscriber) != 0 || page_limit(call, &filter.limit) != 0 ||
        page_cursor(call, 's', sub_id_valid, after, sizeof(after)) != 0)
        return;
    filter.subscriber = subscriber;
    filter.after = after;
    call->detail =
        json_pack("{s:s, s:s, s:s, s:I}", "state", filter.state, "service", filter.service,
                  "subscriber", subscriber, "limit", (json_int_t)filter.limit);
    if (subs_page(call->conn, &filter, &items, &more, &err) != 0) {
        call_failed(call, &err);
        return;
    }
    const json_t *last = json_array_get(items, json_array_size(items) - 1);
    const char *next = more ? json_string_value(json_object_get(last, "id")) : "";
    call_done(call, 200, page_json(items, 's', next));
}

/* NULL: refused. */
static const char *subscription_of(struct call *call)
{
    const char *id = http_param(call->request, "id");
    call_target(call, id);
    if (sub_id_valid(id, strlen(id)))
        return id;
    call_refuse(call, PROBLEM_INVALID_FIELD, "id: must be sub_ and 32 hex digits in lower case");
    return NULL;
}

static void get_subscription(struct call *call)
{
    const char *id = subscription_of(call);
    json_t *record = NULL;
    struct err err;
    if (id == NULL)
        return;
    if (subs_get(call->conn, id, &record, &err) != 0)
        call_failed(call, &err);
    else if (record == NULL)
        call_refuse(call, PROBLEM_NOT_FOUND, "there is no subscription of this id");
    else
        call_done(call, 200, record);
}

static void revoke_subscription(struct call *call)
{
    static const char *const fields[] = {"reason", NULL};
    const char *id = subscription_of(call);
    json_t *body = id != NULL ? http_json_object(call->request) : NULL;
    struct sub_record record;
    struct err err;
    if (body == NULL || http_json_only(call->request, body, fields) != 0)
        return;
    const char *reason = page_text(call, body, "reason", PAGE_REASON_MAX);
    if (reason == NULL)
        return;
    call->detail = json_pack("{s:s}", "reason", reason);
    if (call_intend(call) != 0)
        return;
    if (sub_client_revoke(call->admin->bus, id, reason, call->who.id,
                          call->admin->settings->timeout_ms, &record, &err) != 0)
        page_refuse(call, "the owner of subscriptions", &err);
    else
        call_done(call, 200, json_pack("{s:o}", "record", sub_record_encode(&record)));
}

static void list_keys(struct call *call)
{
    json_t *items = NULL;
    struct err err;
    if (keys_list(call->conn, &items, &err) != 0)
        call_failed(call, &err);
    else
        call_done(call, 200, page_json(items, 'k', ""));
}

/* -1: refused. */
static int read_new_key(struct call *call, enum keys_role *role, const char **label)
{
    static const char *const fields[] = {"role", "label", NULL};
    json_t *body = http_json_object(call->request);
    if (body == NULL || http_json_only(call->request, body, fields) != 0)
        return -1;
    *role = KEYS_VIEWER;
    if (json_object_get(body, "role") != NULL) {
        const char *name = http_json_string(call->request, body, "role", 16);
        if (name == NULL)
            return -1;
        if (keys_role_parse(name, role) != 0) {
            call_refuse(call, PROBLEM_INVALID_FIELD, "role: must be viewer, operator or owner");
            return -1;
        }
    }
    *label = page_text(call, body, "label", KEYS_LABEL);
    return *label != NULL ? 0 : -1;
}

static void make_key(struct call *call)
{
    enum keys_role role;
    const char *label;
    char text[KEYS_TEXT + 1];
    json_t *record = NULL;
    struct err err;
    if (read_new_key(call, &role, &label) != 0)
        return;
    keys_make(text);
    call->detail = json_pack("{s:s, s:s}", "role", keys_role_name(role), "label", label);
    if (keys_add(call->conn, text, role, label, call->who.id, &record, &err) != 0) {
        call_failed(call, &err);
    } else {
        call_target(call, json_string_value(json_object_get(record, "id")));
        json_object_set_new(record, "key", json_string(text));
        call_done(call, 201, record);
    }
    mem_wipe(text, sizeof(text));
}

static void remove_key(struct call *call)
{
    const char *id = http_param(call->request, "id");
    enum keys_removal removal;
    json_t *record = NULL;
    struct err err;
    call_target(call, id);
    if (!keys_id_valid(id)) {
        call_refuse(call, PROBLEM_INVALID_FIELD, "id: must be key_ and 16 hex digits");
        return;
    }
    if (keys_remove(call->conn, id, call->who.id, &removal, &record, &err) != 0) {
        call_failed(call, &err);
        return;
    }
    switch (removal) {
    case KEYS_REMOVED:
        call_done(call, 200, record);
        break;
    case KEYS_ABSENT:
        call_refuse(call, PROBLEM_NOT_FOUND, "there is no key of this id");
        break;
    case KEYS_LAST_OWNER:
        call_refuse(call, PROBLEM_CONFLICT, "this is the last owner's key: make another one first");
        break;
    }
}

static void list_audit(struct call *call)
{
    char position[24];
    int64_t limit, last;
    json_t *items = NULL;
    struct err err;
    if (page_limit(call, &limit) != 0 ||
        page_cursor(call, 'a', is_seq, position, sizeof(position)) != 0)
        return;
    if (audit_page(call->conn, strtoll(position, NULL, 10), limit, &items, &last, &err) != 0) {
        call_failed(call, &err);
        return;
    }
    struct pg_num next = pg_num(last);
    call_done(call, 200, page_json(items, 'a', last > 1 ? next.s : ""));
}

static void verify_audit(struct call *call)
{
    struct audit_report report;
    struct err err;
    if (audit_verify(call->conn, &report, &err) != 0) {
        call_failed(call, &err);
        return;
    }
    call->detail = json_pack("{s:b, s:I}", "ok", (int)report.ok, "rows", (json_int_t)report.rows);
    json_t *body =
        json_pack("{s:b, s:I, s:I, s:s}", "ok", (int)report.ok, "rows", (json_int_t)report.rows,
                  "head", (json_int_t)report.head, "hash", report.hash);
    if (!report.ok) {
        json_object_set_new(body, "broken", json_integer((json_int_t)report.broken));
        json_object_set_new(body, "reason", json_string(report.reason));
    }
    call_done(call, 200, body);
}

#define CALL(name, action, role, handler)                                                          \
    static void name(struct http_request *request, void *ctx)                                      \
    {                                                                                              \
        call_run(ctx, request, action, role, handler);                                             \
    }

CALL(get_keys, "key.list", KEYS_OWNER, list_keys)
CALL(post_key, "key.create", KEYS_OWNER, make_key)
CALL(delete_key, "key.delete", KEYS_OWNER, remove_key)
CALL(get_subscriptions, "subscription.list", KEYS_VIEWER, list_subscriptions)
CALL(get_one_subscription, "subscription.get", KEYS_VIEWER, get_subscription)
CALL(post_revoke, "subscription.revoke", KEYS_OPERATOR, revoke_subscription)
CALL(get_payments, "payment.list", KEYS_VIEWER, treasury_payments)
CALL(get_payment, "payment.get", KEYS_VIEWER, treasury_payment)
CALL(post_refund, "payment.refund", KEYS_OPERATOR, treasury_refund_payment)
CALL(get_transfers, "transfer.list", KEYS_VIEWER, treasury_transfers)
CALL(post_transfer_refund, "transfer.refund", KEYS_OPERATOR, treasury_refund_transfer)
CALL(post_withdrawal, "withdrawal.create", KEYS_OPERATOR, treasury_withdrawal)
CALL(get_audit, "audit.list", KEYS_OPERATOR, list_audit)
CALL(get_verify, "audit.verify", KEYS_OPERATOR, verify_audit)

/* What there is not is tried by somebody all the same. */
static void refuse_unmatched(struct call *call)
{
    enum problem problem = http_unmatched(call->request);
    call_target(call, http_path(call->request));
    call->detail = json_pack("{s:s}", "method", http_method(call->request));
    call_refuse(call, problem,
                problem == PROBLEM_NOT_FOUND ? "there is nothing at this path"
                                             : "this path answers what Allow names");
}

CALL(any_unmatched, "unknown", KEYS_VIEWER, refuse_unmatched)

static const struct http_route unmatched = {"*", "none", any_unmatched, HTTP_NO_STORE, BODY_MAX};

static const struct http_route routes[] = {
    {"GET", "/admin/v1/keys", get_keys, HTTP_NO_STORE, 0},
    {"POST", "/admin/v1/keys", post_key, HTTP_NO_STORE, BODY_MAX},
    {"DELETE", "/admin/v1/keys/{id}", delete_key, HTTP_NO_STORE, 0},
    {"GET", "/admin/v1/subscriptions", get_subscriptions, HTTP_NO_STORE, 0},
    {"GET", "/admin/v1/subscriptions/{id}", get_one_subscription, HTTP_NO_STORE, 0},
    {"POST", "/admin/v1/subscriptions/{id}/revoke", post_revoke, HTTP_NO_STORE, BODY_MAX},
    {"GET", "/admin/v1/payments", get_payments, HTTP_NO_STORE, 0},
    {"GET", "/admin/v1/payments/{id}", get_payment, HTTP_NO_STORE, 0},
    {"POST", "/admin/v1/payments/{id}/refund", post_refund, HTTP_NO_STORE, BODY_MAX},
    {"GET", "/admin/v1/transfers", get_transfers, HTTP_NO_STORE, 0},
    {"POST", "/admin/v1/transfers/{id}/refund", post_transfer_refund, HTTP_NO_STORE, BODY_MAX},
    {"POST", "/admin/v1/withdrawals", post_withdrawal, HTTP_NO_STORE, BODY_MAX},
    {"GET", "/admin/v1/audit", get_audit, HTTP_NO_STORE, 0},
    {"GET", "/admin/v1/audit/verify", get_verify, HTTP_NO_STORE, 0},
};

static void observe(void *ctx, const struct http_route *route, unsigned status, double seconds)
{
    static const char *const classes[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
    struct adminsvc *admin = ctx;
    const char *name = route != NULL ? route->path : "none";
    metrics_count(admin->metrics, GAUGES_CALLS, name, classes[status < 600 ? status / 100 : 0]);
    metric_observe(metrics_cell(admin->metrics, GAUGES_SECONDS, (const char *const[]){name, NULL}),
                   seconds);
}

int api_start(struct adminsvc *admin, struct err *err)
{
    const struct http_server_options options = {
        .address = admin->settings->http.address,
        .threads = (unsigned)admin->settings->http.threads,
        .max_connections = 256,
        .routes = routes,
        .route_count = ARRAY_LEN(routes),
        .ctx = admin,
        .observe = observe,
        .unmatched = &unmatched,
    };
    return http_server_start(&options, &admin->http, err);
}
