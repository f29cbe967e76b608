/* Tokens of strangers: no text may crash the verifier, and none that we did not sign may pass. */
#include "libcommon/jwt.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct jwt_key *key_once(void)
{
    static struct jwt_key *key;
    struct err err;
    char *pem = NULL;
    if (key == NULL &&
        (jwt_key_generate(&pem, &err) != 0 || jwt_key_from_pem(pem, strlen(pem), &key, &err) != 0))
        abort();
    free(pem);
    return key;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct jwt_key *key = key_once();
    char kid[JWT_KID_LEN + 1];
    json_t *claims = NULL;
    struct err err;
    const char *text = (const char *)data;
    if (jwt_peek(text, size, kid, &err) == 0)
        assert(strlen(kid) == JWT_KID_LEN);
    assert(jwt_verify(key, text, size, &claims, &err) == -1 && claims == NULL);

    /* The decoder accepts only what the encoder writes. */
    unsigned char *bytes = NULL;
    size_t len = 0;
    if (jwt_b64url_decode(text, size, &bytes, &len) == 0) {
        char *again = jwt_b64url(bytes, len);
        assert(strlen(again) == size && memcmp(again, text, size) == 0);
        free(again);
        free(bytes);
    }

    json_t *jwk = json_loadb(text, size, 0, NULL);
    struct jwt_key *other = NULL;
    if (jwk != NULL && jwt_key_from_jwk(jwk, &other, &err) == 0)
        jwt_key_free(&other);
    json_decref(jwk);
    return 0;
}
