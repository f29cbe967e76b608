/* What a stranger may put into Authorization: credentials, the token's outer form, and, as if the
 * rest were a verified payload, its claims. */
#include "libcommon/json.h"
#include "libcommon/jwt.h"
#include "services/proxy/auth.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_claims(const char *text, size_t len)
{
    AUTO_JSON json_t *json = NULL;
    struct token_claims claims;
    struct err err;
    if (json_parse(text, len, &json, &err) || auth_claims(json, "", &claims, &err))
        return;
    assert(sub_id_valid(claims.sub, strlen(claims.sub)));
    assert(strlen(claims.aud) < sizeof(claims.aud));
    auth_judge_time(&claims, 1790000000, 900);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *token = NULL, *why = NULL, *text = (const char *)data;
    char kid[JWT_KID_LEN + 1];
    struct err err;
    size_t len = 0;
    if (auth_bearer(text, size, 1, &token, &len, &why) == AUTH_TOKEN) {
        assert(len > 0 && len <= JWT_MAX_LEN && token + len == text + size);
        if (jwt_peek(token, len, kid, &err) == 0)
            assert(strlen(kid) == JWT_KID_LEN);
    } else {
        assert(why);
    }
    try_claims(text, size);
    return 0;
}
