/* Access tokens. A verifier that offers no choice cannot be talked into one: the header must be
 * exactly {alg: ES256, typ: at+jwt, kid}, the signature 64 bytes, base64url canonical. The header
 * that a key writes is kept in its encoded form, so that the usual token is recognised by one
 * comparison. */
#include "libcommon/jwt.h"

#include "libcommon/json.h"
#include "libcommon/jwt_key.h"

#include <string.h>

#define SIGNATURE_LEN 64
#define SIGNATURE_B64 86
#define HEADER_MAX    256

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

char *jwt_b64url(const void *data, size_t len)
{
    const unsigned char *in = data;
    char *out = mem_alloc((len + 2) / 3 * 4 + 1);
    size_t n = 0;
    for (size_t i = 0; i < len; i += 3) {
        unsigned left = len - i >= 3 ? 3 : (unsigned)(len - i);
        unsigned bits = (unsigned)in[i] << 16;
        if (left > 1)
            bits |= (unsigned)in[i + 1] << 8;
        if (left > 2)
            bits |= in[i + 2];
        for (unsigned k = 0; k <= left; k++)
            out[n++] = alphabet[bits >> (18 - 6 * k) & 63];
    }
    out[n] = '\0';
    return out;
}

static int b64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int jwt_b64url_decode(const char *text, size_t len, unsigned char **out, size_t *out_len)
{
    if (len % 4 == 1)
        return -1;
    AUTO_FREE unsigned char *bytes = mem_alloc(len / 4 * 3 + 3);
    size_t n = 0;
    unsigned bits = 0, have = 0;
    for (size_t i = 0; i < len; i++) {
        int value = b64_value(text[i]);
        if (value < 0)
            return -1;
        bits = bits << 6 | (unsigned)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            bytes[n++] = (unsigned char)(bits >> have);
            bits &= (1u << have) - 1;
        }
    }
    if (bits != 0) /* another text for the same bytes */
        return -1;
    bytes[n] = '\0';
    *out_len = n;
    *out = MEM_STEAL(bytes);
    return 0;
}

struct part {
    const char *text;
    size_t len;
};

/* The three parts, of sane lengths. */
static int split(const char *token, size_t len, struct part parts[3], struct err *err)
{
    if (len > JWT_MAX_LEN)
        return err_set(err, "the token is longer than %d bytes", JWT_MAX_LEN);
    const char *end = token + len;
    for (int i = 0; i < 3; i++) {
        const char *dot = memchr(token, '.', (size_t)(end - token));
        if ((i < 2) != (dot != NULL))
            return err_set(err, "the token must have three parts");
        parts[i] = (struct part){token, (size_t)((dot == NULL ? end : dot) - token)};
        token = dot == NULL ? end : dot + 1;
    }
    if (parts[2].len != SIGNATURE_B64)
        return err_set(err, "the token's signature must be 64 bytes");
    return 0;
}

static int parse_part(struct part part, const char *what, json_t **out, struct err *err)
{
    AUTO_FREE unsigned char *bytes = NULL;
    size_t len;
    if (jwt_b64url_decode(part.text, part.len, &bytes, &len) != 0)
        return err_set(err, "%s: not base64url", what);
    if (json_parse((const char *)bytes, len, out, err) != 0)
        return err_wrap(err, "%s", what);
    if (!json_is_object(*out)) {
        json_cleanup(out);
        return err_set(err, "%s: must be an object", what);
    }
    return 0;
}

static int header_kid(struct part header, char kid[JWT_KID_LEN + 1], struct err *err)
{
    static const char *const members[] = {"alg", "typ", "kid", NULL};
    AUTO_JSON json_t *json = NULL;
    const char *alg, *typ, *id;
    if (header.len > HEADER_MAX)
        return err_set(err, "header: too long");
    if (parse_part(header, "header", &json, err) != 0)
        return -1;
    if (json_only(json, members, err) != 0 || json_get_str(json, "alg", 16, &alg, err) != 0 ||
        json_get_str(json, "typ", 16, &typ, err) != 0 ||
        json_get_str(json, "kid", JWT_KID_LEN, &id, err) != 0)
        return err_wrap(err, "header");
    if (strcmp(alg, "ES256") != 0)
        return err_set(err, "header: alg: must be ES256");
    if (strcmp(typ, "at+jwt") != 0)
        return err_set(err, "header: typ: must be at+jwt");
    if (strlen(id) != JWT_KID_LEN)
        return err_set(err, "header: kid: must be a SHA-256 thumbprint");
    memcpy(kid, id, JWT_KID_LEN + 1);
    return 0;
}

int jwt_peek(const char *token, size_t len, char kid[JWT_KID_LEN + 1], struct err *err)
{
    struct part parts[3];
    if (split(token, len, parts, err) != 0)
        return -1;
    return header_kid(parts[0], kid, err);
}

static int check_header(const struct jwt_key *key, struct part header, struct err *err)
{
    char kid[JWT_KID_LEN + 1];
    const char *ours = jwt_key_header(key);
    if (header.len == strlen(ours) && memcmp(header.text, ours, header.len) == 0)
        return 0;
    if (header_kid(header, kid, err) != 0)
        return -1;
    if (strcmp(kid, jwt_key_id(key)) != 0)
        return err_set(err, "header: kid: is of another key");
    return 0;
}

int jwt_verify(const struct jwt_key *key, const char *token, size_t len, json_t **claims,
               struct err *err)
{
    struct part parts[3];
    AUTO_FREE unsigned char *signature = NULL;
    size_t signature_len;
    *claims = NULL;
    if (split(token, len, parts, err) != 0 || check_header(key, parts[0], err) != 0)
        return -1;
    if (jwt_b64url_decode(parts[2].text, parts[2].len, &signature, &signature_len) != 0)
        return err_set(err, "signature: not base64url");
    size_t signed_len = parts[0].len + 1 + parts[1].len;
    if (!jwt_key_check(key, token, signed_len, signature))
        return err_set(err, "the token's signature is wrong");
    return parse_part(parts[1], "claims", claims, err);
}

int jwt_sign(const struct jwt_key *key, const json_t *claims, char **out, struct err *err)
{
    unsigned char signature[SIGNATURE_LEN];
    AUTO_FREE char *text = json_text(claims);
    AUTO_FREE char *body = jwt_b64url(text, strlen(text));
    AUTO_FREE char *input = mem_printf("%s.%s", jwt_key_header(key), body);
    if (strlen(input) + 1 + SIGNATURE_B64 > JWT_MAX_LEN)
        return err_set(err, "the token would be longer than %d bytes", JWT_MAX_LEN);
    if (jwt_key_sign(key, input, strlen(input), signature, err) != 0)
        return -1;
    AUTO_FREE char *tail = jwt_b64url(signature, sizeof(signature));
    *out = mem_printf("%s.%s", input, tail);
    return 0;
}
