/* Credentials and claims, judged without a request. */
#include "services/proxy/auth.h"

#include "libcommon/jwt.h"
#include "libcommon/proto/wire.h"

#include <string.h>
#include <strings.h>

static bool is_token_byte(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
}

enum auth_credentials auth_bare(const char *value, size_t len, const char **token,
                                size_t *token_len, const char **why)
{
    *why = "the token is empty or too long";
    if (len == 0 || len > JWT_MAX_LEN)
        return AUTH_WRONG;
    *why = "the token holds characters that a JWT has not";
    for (size_t i = 0; i < len; i++)
        if (!is_token_byte(value[i]))
            return AUTH_WRONG;
    *token = value;
    *token_len = len;
    return AUTH_TOKEN;
}

size_t auth_query(const char *query, size_t len, char *rest, size_t *rest_len, const char **token,
                  size_t *token_len)
{
    static const char name[] = "access_token=";
    size_t n = sizeof(name) - 1, count = 0, out = 0;
    for (size_t at = len ? 1 : 0, next; at < len; at = next) {
        const char *amp = memchr(query + at, '&', len - at);
        size_t end = amp ? (size_t)(amp - query) : len;
        next = end + 1;
        if (end - at >= n && memcmp(query + at, name, n) == 0) {
            if (count++ == 0) {
                *token = query + at + n;
                *token_len = end - at - n;
            }
            continue;
        }
        rest[out] = out ? '&' : '?';
        memcpy(rest + out + 1, query + at, end - at);
        out += end - at + 1;
    }
    *rest_len = out;
    return count;
}

enum auth_credentials auth_bearer(const char *value, size_t len, size_t count, const char **token,
                                  size_t *token_len, const char **why)
{
    static const char scheme[] = "bearer ";
    size_t n = sizeof(scheme) - 1;
    if (count == 0)
        return AUTH_NONE;
    *why = "there is more than one Authorization header";
    if (count > 1)
        return AUTH_WRONG;
    *why = "Authorization is not a Bearer token";
    if (len < n || strncasecmp(value, scheme, n) != 0)
        return AUTH_WRONG;
    while (n < len && value[n] == ' ')
        n++;
    return auth_bare(value + n, len - n, token, token_len, why);
}

int auth_claims(const json_t *json, const char *issuer, struct token_claims *out, struct err *err)
{
    const char *iss, *sub, *aud;
    if (json_get_str(json, "iss", 512, &iss, err) ||
        json_get_str(json, "sub", SUB_ID_LEN, &sub, err) ||
        json_get_str(json, "aud", sizeof(out->aud) - 1, &aud, err) ||
        json_get_int(json, "iat", 0, WIRE_TIME_MAX, &out->iat, err) ||
        json_get_int(json, "exp", 0, WIRE_TIME_MAX, &out->exp, err))
        return -1;
    if (issuer && *issuer && strcmp(iss, issuer) != 0)
        return err_set(err, "iss is another issuer");
    if (!sub_id_valid(sub, strlen(sub)))
        return err_set(err, "sub is not a subscription");
    memcpy(out->sub, sub, sizeof(out->sub));
    memset(out->aud, 0, sizeof(out->aud));
    memcpy(out->aud, aud, strlen(aud));
    return 0;
}

enum auth_time auth_judge_time(const struct token_claims *claims, int64_t wall_s, int64_t grace_s)
{
    if (claims->iat > wall_s + AUTH_LEEWAY_S)
        return AUTH_NOT_YET;
    if (wall_s < claims->exp + AUTH_LEEWAY_S)
        return AUTH_NOW;
    return wall_s < claims->exp + grace_s ? AUTH_IN_GRACE : AUTH_EXPIRED;
}
