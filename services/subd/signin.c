/* The nonce is spent only after the signature was found good, so nobody can spend another's; and it
 * is spent before anything is issued, so a message works once. */
#include "services/subd/signin.h"

#include "libcommon/eth/eip712.h"
#include "libcommon/eth/hex.h"
#include "libcommon/eth/sign.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define RESOURCE "urn:octroi:service:"
#define SKEW_S   60 /* clocks of two instances may differ */

bool signin_service_valid(const char *service)
{
    size_t len = strlen(service);
    return len >= 1 && len <= SIGNIN_SERVICE_MAX &&
           strspn(service, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static char *challenge_key(const char *nonce)
{
    return mem_printf("octroi:{%s}:challenge", nonce);
}

/* What the store holds under the nonce: another wallet or service cannot use it. */
static char *challenge_value(const uint8_t wallet[20], const char *service)
{
    char address[43];
    hex_encode(wallet, 20, address);
    return mem_printf("%s %s", address, service);
}

static char *write_message(struct subd *subd, const uint8_t wallet[20], const char *service,
                           const struct signin_challenge *challenge, int64_t now)
{
    AUTO_FREE struct siwe *message = mem_zalloc(sizeof(*message));
    hex_address_format(wallet, message->address);
    snprintf(message->domain, sizeof(message->domain), "%s", subd->authority);
    snprintf(message->uri, sizeof(message->uri), "%s", subd->settings->public_url);
    snprintf(message->statement, sizeof(message->statement),
             "Sign in to use the service %s. This costs nothing.", service);
    snprintf(message->nonce, sizeof(message->nonce), "%s", challenge->nonce);
    snprintf(message->resources[0], SIWE_TEXT, RESOURCE "%s", service);
    message->resource_count = 1;
    message->chain_id = (int64_t)subd->domain.chain_id;
    message->issued_at = now;
    message->expires_at = challenge->expires_at;
    return siwe_format(message);
}

enum problem signin_challenge(struct subd *subd, const uint8_t wallet[20], const char *service,
                              struct signin_challenge *out, struct err *err)
{
    unsigned char random[16];
    int64_t now = clock_wall_s(subd->clock), ttl_ms = subd->settings->tokens.challenge_ms;
    if (RAND_bytes(random, sizeof(random)) != 1) {
        err_set(err, "no randomness");
        return PROBLEM_INTERNAL;
    }
    hex_encode_bare(random, sizeof(random), out->nonce);
    out->expires_at = now + ttl_ms / 1000;
    out->message = NULL;
    AUTO_FREE char *key = challenge_key(out->nonce);
    AUTO_FREE char *value = challenge_value(wallet, service);
    AUTO_REDIS_REPLY redisReply *reply = NULL;
    if (redis_cmd(subd->redis, REDIS_ARGS("SET", key, value, "PX", pg_num(ttl_ms).s, "NX"), &reply,
                  err))
        return PROBLEM_UNAVAILABLE;
    out->message = write_message(subd, wallet, service, out, now);
    return PROBLEM_NONE;
}

static enum problem wrong(struct err *err, enum problem problem, const char *text)
{
    err_set(err, "message: %s", text);
    return problem;
}

static bool has_scheme(const char *url, const char *scheme)
{
    size_t len = strlen(scheme);
    return strncmp(url, scheme, len) == 0 && strncmp(url + len, "://", 3) == 0;
}

/* http://host and http://host/ are the same. */
static bool same_url(const char *a, const char *b)
{
    size_t m = strlen(a), n = strlen(b);
    m -= m && a[m - 1] == '/';
    n -= n && b[n - 1] == '/';
    return m == n && memcmp(a, b, n) == 0;
}

enum problem signin_judge(const struct siwe *message, const char *authority, const char *public_url,
                          int64_t chain_id, int64_t now, char service[SIGNIN_SERVICE_MAX + 1],
                          struct err *err)
{
    const char *named = message->resources[0];
    size_t prefix = strlen(RESOURCE);
    if (strcmp(message->domain, authority) != 0)
        return wrong(err, PROBLEM_INVALID_SIGNATURE, "it was signed for another domain");
    if (message->scheme[0] && !has_scheme(public_url, message->scheme))
        return wrong(err, PROBLEM_INVALID_SIGNATURE, "it was signed for another scheme");
    if (!same_url(message->uri, public_url))
        return wrong(err, PROBLEM_INVALID_SIGNATURE, "it was signed for another URI");
    if (message->chain_id != chain_id)
        return wrong(err, PROBLEM_INVALID_SIGNATURE, "it was signed for another chain");
    if (message->issued_at > now + SKEW_S || message->not_before > now + SKEW_S)
        return wrong(err, PROBLEM_INVALID_SIGNATURE, "it is not valid yet");
    if (message->expires_at == 0 || message->expires_at <= now)
        return wrong(err, PROBLEM_INVALID_SIGNATURE, "it has expired: ask for a new challenge");
    if (message->resource_count != 1 || strncmp(named, RESOURCE, prefix) != 0 ||
        !signin_service_valid(named + prefix))
        return wrong(err, PROBLEM_INVALID_FIELD,
                     "it names exactly one resource, " RESOURCE "<name>");
    memcpy(service, named + prefix, strlen(named + prefix) + 1);
    return PROBLEM_NONE;
}

static int check_signature(const char *message, const char *signature, const uint8_t wallet[20],
                           struct err *err)
{
    uint8_t bytes[65], signer[20];
    size_t len;
    if (hex_decode_any(signature, bytes, sizeof(bytes), &len) || (len != 64 && len != 65))
        return err_set(err, "signature: 0x and 64 or 65 bytes of hex");
    struct word digest = eip191_digest(message, strlen(message));
    if (sign_recover(&digest, bytes, len, signer) || memcmp(signer, wallet, 20) != 0)
        return err_set(err, "signature: it is not the named wallet's over this message");
    return 0;
}

static enum problem spend_nonce(struct subd *subd, const struct siwe *message, const char *service,
                                struct err *err)
{
    AUTO_FREE char *key = challenge_key(message->nonce);
    AUTO_FREE char *value = challenge_value(message->wallet, service);
    AUTO_REDIS_REPLY redisReply *reply = NULL;
    if (redis_cmd(subd->redis, REDIS_ARGS("GETDEL", key), &reply, err))
        return PROBLEM_UNAVAILABLE;
    if (reply->type != REDIS_REPLY_STRING || strcmp(reply->str, value) != 0)
        return wrong(err, PROBLEM_INVALID_SIGNATURE,
                     "its nonce is unknown, spent or expired: ask for a new challenge");
    return PROBLEM_NONE;
}

enum problem signin_verify(struct subd *subd, const char *message, const char *signature,
                           struct signin_identity *out, struct err *err)
{
    AUTO_FREE struct siwe *siwe = mem_zalloc(sizeof(*siwe));
    if (siwe_parse(message, strlen(message), siwe, err))
        return PROBLEM_INVALID_FIELD;
    enum problem problem =
        signin_judge(siwe, subd->authority, subd->settings->public_url,
                     (int64_t)subd->domain.chain_id, clock_wall_s(subd->clock), out->service, err);
    if (problem != PROBLEM_NONE)
        return problem;
    if (check_signature(message, signature, siwe->wallet, err))
        return PROBLEM_INVALID_SIGNATURE;
    hex_encode(siwe->wallet, 20, out->wallet);
    return spend_nonce(subd, siwe, out->service, err);
}
