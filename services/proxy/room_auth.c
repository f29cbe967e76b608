/* Lets in who holds a good token of a subscription that is paid. enter, and each return after a
 * wait, goes through the same steps from the start: they are cheap, and what was true may have
 * changed meanwhile. */
#include "services/proxy/billing.h"
#include "services/proxy/billing_internal.h"
#include "services/proxy/handshake.h"
#include "services/proxy/request.h"
#include "services/proxy/route.h"

#include <string.h>

static const char realm[] = "Bearer realm=\"octroi\"";
static const char bad_token[] = "Bearer realm=\"octroi\", error=\"invalid_token\"";
static const char bad_scope[] = "Bearer realm=\"octroi\", error=\"insufficient_scope\"";

static enum room_result refuse(struct request *request, enum problem problem, const char *challenge,
                               const char *detail)
{
    union {
        const char *in;
        char *out;
    } text = {.in = challenge};

    if (challenge)
        request_add_response_header(request, "WWW-Authenticate",
                                    h2o_iovec_init(text.out, strlen(challenge)));
    request_refuse(request, problem, detail ? "%s" : NULL, detail);
    return ROOM_REJECT;
}

static enum room_result invalid(struct request *request, const char *detail)
{
    metric_add(request->worker->billing->refused, 1);
    return refuse(request, PROBLEM_INVALID_TOKEN, bad_token, detail);
}

static enum room_result unavailable(struct request *request, const char *detail)
{
    request->retry_after_s = 1;
    return refuse(request, PROBLEM_BILLING_UNAVAILABLE, NULL, detail);
}

static enum room_result step(struct request *request);

static void again(struct request *request)
{
    enum room_result result = step(request);
    if (result == ROOM_WAIT)
        return;
    billing_worker_unpark(request->worker->billing, &request->auth.wait);
    request_resume(request, result);
}

static enum room_result park(struct request *request, struct billing_waits *waits)
{
    struct billing_worker *bw = request->worker->billing;
    if (billing_worker_late(bw, &request->auth.wait))
        return unavailable(request, "there was no answer in time");
    if (!billing_worker_park(bw, &request->auth.wait, waits, request, again))
        return unavailable(request, "too many requests wait for an answer");
    return ROOM_WAIT;
}

static enum room_result await_keys(struct request *request)
{
    struct billing_worker *bw = request->worker->billing;
    if (billing_worker_ask_keys(bw))
        return park(request, &bw->key_wait);
    if (!bw->keys)
        return unavailable(request, "the signing keys are not known yet");
    if (bw->keys_failed)
        return unavailable(request, "the token's key is not known, and cannot be asked for");
    return invalid(request, "the token is signed by a key that is not known");
}

/* NULL: *result is what to do. */
static const struct token_claims *claims_of(struct request *request, const char *token, size_t len,
                                            struct token_claims *room, enum room_result *result)
{
    struct billing_worker *bw = request->worker->billing;
    const struct token_claims *known = token_cache_find(bw->tokens, token, len);
    char kid[JWT_KID_LEN + 1];
    struct err err;
    AUTO_JSON json_t *json = NULL;
    if (known) {
        metric_add(bw->cached, 1);
        return known;
    }
    if (jwt_peek(token, len, kid, &err)) {
        *result = invalid(request, err.msg);
        return NULL;
    }
    const struct jwt_key *key = billing_keys_find(bw->keys, kid);
    if (!key) {
        *result = await_keys(request);
        return NULL;
    }
    if (jwt_verify(key, token, len, &json, &err) ||
        auth_claims(json, billing_issuer(bw->billing), room, &err)) {
        *result = invalid(request, err.msg);
        return NULL;
    }
    metric_add(bw->verified, 1);
    token_cache_add(bw->tokens, token, len, room);
    return room;
}

static enum room_result admit(struct request *request, struct subscription *sub)
{
    size_t len = strlen(sub->record.tier);
    char *tier = h2o_mem_alloc_pool(&request->pool, len + 1);
    memcpy(tier, sub->record.tier, len + 1);
    request_drop_header(request, "authorization");
    request_add_upstream_header(request, "octroi-subscription",
                                h2o_iovec_init(sub->record.id, SUB_ID_LEN));
    request_add_upstream_header(request, "octroi-tier", h2o_iovec_init(tier, len));
    return ROOM_NEXT;
}

static enum room_result ask(struct request *request, struct subscription *sub, bool in_grace)
{
    struct billing_worker *bw = request->worker->billing;
    if (in_grace)
        return unavailable(request, "the subscription is not known here, and cannot be asked for");
    if (sub->failed_ns && bw->worker->now_ns - sub->failed_ns < BILLING_RETRY_NS) {
        if (sub->learned_ns) /* an old refusal that nobody has taken back */
            return refuse(request, PROBLEM_PAYMENT_REQUIRED, realm,
                          subtable_reason(sub, billing_worker_wall_s(bw)));
        return unavailable(request, "the subscription could not be asked for");
    }
    billing_worker_ask_sub(bw, sub);
    return park(request, &sub->checking);
}

static void forget(struct request *request)
{
    if (request->auth.sub)
        subtable_unref(request->auth.sub);
    request->auth.sub = NULL;
}

static enum room_result judge(struct request *request, const char *id, bool in_grace)
{
    struct billing_worker *bw = request->worker->billing;
    int64_t wall_s = billing_worker_wall_s(bw);
    forget(request);
    struct subscription *sub = subtable_get(bw->subs, id);
    if (!sub)
        return unavailable(request, "too many subscriptions are in use");
    subtable_ref(sub);
    request->auth.sub = sub;
    switch (subtable_judge(sub, request->route->service, wall_s, bw->worker->now_ns)) {
    case SUBTABLE_PASS:
        return admit(request, sub);
    case SUBTABLE_ASK:
        return ask(request, sub, in_grace);
    case SUBTABLE_UNPAID:
        return refuse(request, PROBLEM_PAYMENT_REQUIRED, realm, subtable_reason(sub, wall_s));
    case SUBTABLE_NOT_COVERED:
        return refuse(request, PROBLEM_NOT_COVERED, bad_scope, NULL);
    }
    return unavailable(request, NULL);
}

static enum room_result check_token(struct request *request, const char *token, size_t len)
{
    struct billing_worker *bw = request->worker->billing;
    struct token_claims room;
    enum room_result result = ROOM_REJECT;
    const struct token_claims *claims = claims_of(request, token, len, &room, &result);
    if (!claims)
        return result;
    int64_t grace_s = billing_worker_degraded(bw) ? billing_grace_s(bw->billing) : 0;
    enum auth_time time = auth_judge_time(claims, billing_worker_wall_s(bw), grace_s);
    switch (time) {
    case AUTH_NOW:
    case AUTH_IN_GRACE:
        break;
    case AUTH_EXPIRED:
        return invalid(request, "the token has expired");
    case AUTH_NOT_YET:
        return invalid(request, "the token is issued in the future");
    }
    if (strcmp(claims->aud, request->route->service) != 0)
        return refuse(request, PROBLEM_NOT_COVERED, bad_scope, "the token is for another service");
    char id[SUB_ID_LEN + 1];
    request->auth.token_s = claims->exp - claims->iat;
    memcpy(id, claims->sub, sizeof(id));
    return judge(request, id, time == AUTH_IN_GRACE);
}

/* Browsers cannot give a WebSocket an Authorization header: its token is a subprotocol. */
static enum auth_credentials find_token(const struct request *request, const char **token,
                                        size_t *len, const char **why)
{
    const struct handshake *handshake = request->exchange->handshake;
    const struct auth_state *auth = &request->auth;
    bool by_subprotocol = handshake && handshake->token.base;
    size_t count;
    h2o_iovec_t value = request_header(request, "authorization", &count);
    if (!by_subprotocol && !auth->query_tokens)
        return auth_bearer(value.base, value.len, count, token, len, why);
    *why = "there is more than one token";
    if (count + by_subprotocol + auth->query_tokens > 1 || (by_subprotocol && handshake->tokens))
        return AUTH_WRONG;
    if (by_subprotocol)
        return auth_bare(handshake->token.base, handshake->token.len, token, len, why);
    return auth_bare(auth->query_token, auth->query_token_len, token, len, why);
}

/* It never goes further, into a log or to the origin. */
static void read_query(struct request *request)
{
    h2o_iovec_t *query = &request->exchange->query;
    struct auth_state *auth = &request->auth;
    char *rest = h2o_mem_alloc_pool(&request->pool, query->len + 1);
    size_t len;
    auth->query_tokens =
        auth_query(query->base, query->len, rest, &len, &auth->query_token, &auth->query_token_len);
    if (auth->query_tokens)
        *query = h2o_iovec_init(rest, len);
}

static enum room_result step(struct request *request)
{
    const char *token = NULL, *why = NULL;
    size_t len = 0;
    switch (find_token(request, &token, &len, &why)) {
    case AUTH_NONE:
        return refuse(request, PROBLEM_PAYMENT_REQUIRED, realm, "the request carries no token");
    case AUTH_WRONG:
        return invalid(request, why);
    case AUTH_TOKEN:
        break;
    }
    return check_token(request, token, len);
}

static enum room_result enter(struct request *request)
{
    if (!request->worker->billing)
        return ROOM_NEXT;
    if (request->route->access_token_query && request->exchange->query.len)
        read_query(request);
    if (request->route->access == ROUTE_SUBSCRIPTION)
        return step(request);
    request_drop_header(request, "octroi-subscription");
    request_drop_header(request, "octroi-tier");
    return ROOM_NEXT;
}

static void leave(struct request *request)
{
    if (!request->worker->billing)
        return;
    billing_worker_unpark(request->worker->billing, &request->auth.wait);
    forget(request);
}

const struct room room_auth = {.name = "auth", .enter = enter, .leave = leave};
