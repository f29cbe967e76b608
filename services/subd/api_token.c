/* POST /token/challenge, /token and /token/refresh: a signature or a refresh token in, an access
 * token of five minutes out. */
#include "services/subd/api_token.h"

#include "libcommon/eth/hex.h"
#include "libcommon/json.h"
#include "libcommon/log.h"
#include "services/subd/gauges.h"
#include "services/subd/keyring.h"
#include "services/subd/refresh.h"
#include "services/subd/signin.h"

#include <openssl/rand.h>
#include <string.h>

static void count(struct subd *subd, const char *result)
{
    metrics_count(subd->metrics, GAUGES_TOKENS, result, NULL);
}

/* What failed inside is for the log; the client hears the problem's own words. */
static void refuse(struct http_request *request, struct subd *subd, enum problem problem,
                   const struct err *err)
{
    count(subd, "refused");
    if (problem_get(problem)->status >= 500) {
        log_warn("no token", LOG_STR(REQUEST_ID, http_request_id(request)),
                 LOG_STR(ERROR, err->msg));
        http_reply_header(request, "Retry-After", "1");
        http_reply_problem(request, problem, NULL);
        return;
    }
    if (problem == PROBLEM_INVALID_TOKEN)
        http_reply_header(request, "WWW-Authenticate", "Bearer error=\"invalid_token\"");
    http_reply_problem(request, problem, "%s", err->msg);
}

void api_token_challenge(struct http_request *request, void *ctx)
{
    static const char *const fields[] = {"address", "service", NULL};
    struct subd *subd = ctx;
    struct signin_challenge challenge = {0};
    struct err err = {0};
    uint8_t wallet[20];
    const char *address, *service;
    json_t *body = http_json_object(request);
    if (!body || http_json_only(request, body, fields) ||
        !(address = http_json_string(request, body, "address", 42)) ||
        !(service = http_json_string(request, body, "service", SIGNIN_SERVICE_MAX)))
        return;
    if (hex_address(address, wallet, &err)) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD, "address: %s", err.msg);
        return;
    }
    if (!signin_service_valid(service)) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD,
                           "service: 1 to 63 of a-z, 0-9 and . _ -");
        return;
    }
    enum problem problem = signin_challenge(subd, wallet, service, &challenge, &err);
    if (problem != PROBLEM_NONE) {
        refuse(request, subd, problem, &err);
        return;
    }
    http_reply_json(request, 200,
                    json_pack("{s:s, s:s, s:I}", "message", challenge.message, "nonce",
                              challenge.nonce, "expires_at", (json_int_t)challenge.expires_at));
    free(challenge.message);
}

static json_t *claims_of(struct subd *subd, const struct record *record, const char *family,
                         int64_t now, struct err *err)
{
    unsigned char random[16];
    char jti[33];
    if (RAND_bytes(random, sizeof(random)) != 1) {
        err_set(err, "no randomness");
        return NULL;
    }
    hex_encode_bare(random, sizeof(random), jti);
    AUTO_JSON json_t *all = sub_record_encode(&record->pub);
    int64_t expires = now + subd->settings->tokens.access_ms / 1000;
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:O}", "iss",
                     subd->settings->public_url, "aud", record->pub.service, "sub", record->pub.id,
                     "jti", jti, "fam", family, "iat", (json_int_t)now, "exp", (json_int_t)expires,
                     "tier", record->pub.tier, "lim", json_object_get(all, "limits"));
}

static int grant(struct http_request *request, struct subd *subd, const struct record *record,
                 const struct refresh_grant *refresh, int64_t now, struct err *err)
{
    AUTO_FREE char *token = NULL;
    AUTO_JSON json_t *claims = claims_of(subd, record, refresh->family, now, err);
    if (!claims || keyring_sign(subd->keys, claims, &token, err))
        return -1;
    http_reply_json(request, 200,
                    json_pack("{s:s, s:s, s:I, s:s, s:s}", "access_token", token, "token_type",
                              "Bearer", "expires_in",
                              (json_int_t)(subd->settings->tokens.access_ms / 1000), "subscription",
                              record->pub.id, "refresh_token", refresh->token));
    return 0;
}

/* The holder's subscription, active, and the first refresh token of a family. */
static enum problem begin(struct subd *subd, const struct signin_identity *who, int64_t now,
                          struct record *record, struct refresh_grant *refresh, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    bool found;
    if (subd_session(subd, &conn, err) ||
        record_of_holder(conn, &subd->domain, who->wallet, who->service, now, record, &found, err))
        return PROBLEM_UNAVAILABLE;
    if (!found) {
        err_set(err, "this wallet has no subscription to %s", who->service);
        return PROBLEM_PAYMENT_REQUIRED;
    }
    if (record->pub.state != SUB_ACTIVE || record->pub.expiry <= now) {
        err_set(err, "the subscription %s is %s", record->pub.id,
                sub_state_name(record->pub.state == SUB_ACTIVE ? SUB_EXPIRED : record->pub.state));
        return PROBLEM_PAYMENT_REQUIRED;
    }
    return refresh_begin(conn, record->pub.id, now, subd->settings->tokens.refresh_ms / 1000,
                         refresh, err)
               ? PROBLEM_UNAVAILABLE
               : PROBLEM_NONE;
}

void api_token_issue(struct http_request *request, void *ctx)
{
    static const char *const fields[] = {"message", "signature", NULL};
    struct subd *subd = ctx;
    struct signin_identity who;
    struct record record;
    struct refresh_grant refresh;
    struct err err = {0};
    size_t length;
    const char *signature;
    json_t *body = http_json_object(request);
    if (!body || http_json_only(request, body, fields) ||
        !(signature = http_json_string(request, body, "signature", 132)))
        return;
    json_t *message = json_object_get(body, "message");
    length = json_is_string(message) ? json_string_length(message) : 0;
    if (length == 0 || length > SIWE_MAX || strlen(json_string_value(message)) != length) {
        http_reply_problem(request, PROBLEM_INVALID_FIELD,
                           "message: a string of 1 to %d bytes without NUL", SIWE_MAX);
        return;
    }
    int64_t now = clock_wall_s(subd->clock);
    enum problem problem = signin_verify(subd, json_string_value(message), signature, &who, &err);
    if (problem == PROBLEM_NONE)
        problem = begin(subd, &who, now, &record, &refresh, &err);
    if (problem == PROBLEM_NONE && grant(request, subd, &record, &refresh, now, &err))
        problem = PROBLEM_INTERNAL;
    if (problem != PROBLEM_NONE) {
        refuse(request, subd, problem, &err);
        return;
    }
    count(subd, "issued");
    mem_wipe(&refresh, sizeof(refresh));
}

static enum problem spend(struct subd *subd, const char *token, int64_t now, struct record *record,
                          struct refresh_grant *refresh, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    bool reused;
    if (subd_session(subd, &conn, err))
        return PROBLEM_UNAVAILABLE;
    enum problem problem = refresh_spend(conn, token, now, subd->settings->tokens.refresh_ms / 1000,
                                         refresh, record, &reused, err);
    if (reused) {
        count(subd, "reused");
        log_warn("a spent refresh token was used again; its family is revoked",
                 LOG_STR(SUBSCRIPTION, refresh->subscription));
    }
    if (problem == PROBLEM_NONE && !record_bought_on(record, &subd->domain)) {
        err_set(err, "the subscription was bought on another contract");
        return PROBLEM_PAYMENT_REQUIRED;
    }
    return problem;
}

void api_token_refresh(struct http_request *request, void *ctx)
{
    static const char *const fields[] = {"refresh_token", NULL};
    struct subd *subd = ctx;
    struct record record;
    struct refresh_grant refresh;
    struct err err = {0};
    const char *token;
    json_t *body = http_json_object(request);
    if (!body || http_json_only(request, body, fields) ||
        !(token = http_json_string(request, body, "refresh_token", REFRESH_TOKEN_LEN)))
        return;
    int64_t now = clock_wall_s(subd->clock);
    enum problem problem = spend(subd, token, now, &record, &refresh, &err);
    if (problem == PROBLEM_NONE && grant(request, subd, &record, &refresh, now, &err))
        problem = PROBLEM_INTERNAL;
    if (problem != PROBLEM_NONE) {
        refuse(request, subd, problem, &err);
        return;
    }
    count(subd, "refreshed");
    mem_wipe(&refresh, sizeof(refresh));
}
