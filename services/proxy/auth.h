/* Who is asking: the access token, and the subscription it stands for in this worker's table. */
#ifndef PROXY_AUTH_H
#define PROXY_AUTH_H

#include "services/proxy/billing_wait.h"
#include "services/proxy/token_cache.h"

#define AUTH_LEEWAY_S 5 /* between subd's clock and ours */

struct request;
struct subscription; /* an entry of the worker's table, referenced while a request holds it */

struct auth_state {
    struct subscription *sub; /* NULL on public routes */
    const char *query_token;  /* of access_token in the query */
    size_t query_token_len, query_tokens;
    int64_t token_s; /* that the token lives, from its issue */
    struct billing_wait wait;
};

enum auth_credentials { AUTH_NONE, AUTH_TOKEN, AUTH_WRONG };

/* The token of an Authorization value, of which there were `count`. WRONG: *why says what is wrong
 * with it. */
enum auth_credentials auth_bearer(const char *value, size_t len, size_t count, const char **token,
                                  size_t *token_len, const char **why);
/* A bare token, as a WebSocket's subprotocol carries it; the rest as above. */
enum auth_credentials auth_bare(const char *value, size_t len, const char **token,
                                size_t *token_len, const char **why);
/* Takes access_token out of a query string, its mark included: what is left of it goes to `rest`
 * (len bytes), the first value to *token. Returns how often it was there. */
size_t auth_query(const char *query, size_t len, char *rest, size_t *rest_len, const char **token,
                  size_t *token_len);
/* What a verified token says; `issuer` empty: any. */
int auth_claims(const json_t *json, const char *issuer, struct token_claims *out,
                struct err *err) MUST_USE;

enum auth_time { AUTH_NOW, AUTH_IN_GRACE, AUTH_EXPIRED, AUTH_NOT_YET };

/* `grace_s` beyond the end counts only while subd cannot be asked: 0 otherwise. */
enum auth_time auth_judge_time(const struct token_claims *claims, int64_t wall_s, int64_t grace_s);

#endif
