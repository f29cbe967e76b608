/* Money as an operator sees and moves it. Reading is out of payd's views; moving is payd's, which
 * is asked over the bus and answers the same call twice with the same transaction. */
#include "services/adminsvc/treasury.h"

#include "libcommon/client/treasury_client.h"
#include "libcommon/eth/hex.h"
#include "services/adminsvc/page.h"
#include "services/adminsvc/payments.h"

#include <stdio.h>
#include <string.h>

static const char *const payment_states[] = {"seen",     "confirming", "confirmed", "activated",
                                             "orphaned", "rejected",   "refunded",  NULL};
static const char *const transfer_states[] = {"seen",     "confirming", "confirmed",
                                              "orphaned", "refunded",   NULL};

static int filter_state(struct call *call, const char *const *states, const char **out)
{
    *out = http_query(call->request, "state");
    if (*out == NULL)
        *out = "";
    bool known = (*out)[0] == '\0';
    for (size_t i = 0; states[i] != NULL && !known; i++)
        known = strcmp(states[i], *out) == 0;
    if (!known)
        call_refuse(call, PROBLEM_INVALID_FIELD, "state: is none that there is");
    return known ? 0 : -1;
}

typedef int page_reader(struct pg_conn *conn, const struct payments_filter *filter, json_t **out,
                        char next[PAYMENTS_POSITION], struct err *err);

static void list(struct call *call, char kind, const char *const *states, page_reader *read)
{
    struct payments_filter filter = {0};
    char subscriber[43], before[PAYMENTS_POSITION], next[PAYMENTS_POSITION];
    json_t *items = NULL;
    struct err err;
    if (filter_state(call, states, &filter.state) != 0 || page_subscriber(call, subscriber) != 0 ||
        page_limit(call, &filter.limit) != 0 ||
        page_cursor(call, kind, payments_position_valid, before, sizeof(before)) != 0)
        return;
    filter.subscriber = subscriber;
    filter.before = before;
    call->detail = json_pack("{s:s, s:s, s:I}", "state", filter.state, "subscriber", subscriber,
                             "limit", (json_int_t)filter.limit);
    if (read(call->conn, &filter, &items, next, &err) != 0)
        call_failed(call, &err);
    else
        call_done(call, 200, page_json(items, kind, next));
}

void treasury_payments(struct call *call)
{
    list(call, 'p', payment_states, payments_page);
}

void treasury_transfers(struct call *call)
{
    list(call, 't', transfer_states, payments_transfers);
}

/* NULL: refused. */
static const char *id_of(struct call *call)
{
    const char *id = http_param(call->request, "id");
    call_target(call, id);
    if (treasury_id_valid(id, strlen(id)))
        return id;
    call_refuse(call, PROBLEM_INVALID_FIELD, "id: must be 0x and 64 hex digits in lower case");
    return NULL;
}

void treasury_payment(struct call *call)
{
    const char *id = id_of(call);
    json_t *payment = NULL;
    struct err err;
    if (id == NULL)
        return;
    if (payments_get(call->conn, id, &payment, &err) != 0)
        call_failed(call, &err);
    else if (payment == NULL)
        call_refuse(call, PROBLEM_NOT_FOUND, "there is no payment of this id");
    else
        call_done(call, 200, payment);
}

static void fill_cause(struct call *call, const char *reason, struct treasury_cause *out)
{
    snprintf(out->actor, sizeof(out->actor), "%s", call->who.id);
    snprintf(out->reason, sizeof(out->reason), "%s", reason);
}

static void conclude(struct call *call, int rc, json_t *answer, const struct err *err)
{
    if (rc != 0)
        page_refuse(call, "the owner of payments", err);
    else
        call_done(call, 200, answer);
}

typedef int refund_asker(struct bus *bus, const struct treasury_refund *request, int64_t timeout_ms,
                         json_t **out, struct err *err);

static void refund(struct call *call, refund_asker *ask)
{
    static const char *const fields[] = {"reason", NULL};
    const char *id = id_of(call);
    json_t *body = id != NULL ? http_json_object(call->request) : NULL;
    json_t *answer = NULL;
    struct treasury_refund request;
    struct err err;
    if (body == NULL || http_json_only(call->request, body, fields) != 0)
        return;
    const char *reason = page_text(call, body, "reason", PAGE_REASON_MAX);
    if (reason == NULL)
        return;
    snprintf(request.id, sizeof(request.id), "%s", id);
    fill_cause(call, reason, &request.cause);
    call->detail = json_pack("{s:s}", "reason", reason);
    if (call_intend(call) != 0)
        return;
    int rc = ask(call->admin->bus, &request, call->admin->settings->timeout_ms, &answer, &err);
    conclude(call, rc, answer, &err);
}

void treasury_refund_payment(struct call *call)
{
    refund(call, treasury_client_refund);
}

void treasury_refund_transfer(struct call *call)
{
    refund(call, treasury_client_refund_transfer);
}

/* Without the header each call is one of its own. -1: refused. */
static int idempotency_key(struct call *call, char out[TREASURY_KEY + 1])
{
    const char *key = http_header(call->request, "Idempotency-Key");
    if (key == NULL)
        key = http_request_id(call->request);
    if (!treasury_key_valid(key, strlen(key))) {
        call_refuse(call, PROBLEM_INVALID_FIELD,
                    "Idempotency-Key: 1 to %d letters, digits, '-', '_', '.' and ':'",
                    TREASURY_KEY);
        return -1;
    }
    snprintf(out, TREASURY_KEY + 1, "%s", key);
    return 0;
}

static int read_withdrawal(struct call *call, struct treasury_withdraw *out)
{
    static const char *const fields[] = {"token", "fees", "reason", NULL};
    json_t *body = http_json_object(call->request);
    struct err err;
    if (body == NULL || http_json_only(call->request, body, fields) != 0)
        return -1;
    const char *token = page_text(call, body, "token", 42);
    const char *reason = token == NULL ? NULL : page_text(call, body, "reason", PAGE_REASON_MAX);
    if (reason == NULL || idempotency_key(call, out->key) != 0)
        return -1;
    if (hex_address(token, out->token, &err) != 0) {
        call_refuse(call, PROBLEM_INVALID_FIELD, "token: %s", err.msg);
        return -1;
    }
    if (json_get_bool(body, "fees", &out->fees, &err) != 0) {
        call_refuse(call, PROBLEM_INVALID_FIELD, "%s", err.msg);
        return -1;
    }
    fill_cause(call, reason, &out->cause);
    return 0;
}

void treasury_withdrawal(struct call *call)
{
    struct treasury_withdraw request = {.fees = false};
    json_t *answer = NULL;
    char token[43];
    struct err err;
    if (read_withdrawal(call, &request) != 0)
        return;
    hex_address_format(request.token, token);
    call_target(call, token);
    call->detail = json_pack("{s:s, s:b, s:s}", "reason", request.cause.reason, "fees",
                             (int)request.fees, "key", request.key);
    if (call_intend(call) != 0)
        return;
    int rc = treasury_client_withdraw(call->admin->bus, &request, call->admin->settings->timeout_ms,
                                      &answer, &err);
    conclude(call, rc, answer, &err);
}
