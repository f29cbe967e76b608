/* The keys of quotes (docs/interfaces.md, "Redis"). A subscriber's rate is counted for each client,
 * because anybody can name anybody's address: a stranger must not use up what its owner may ask
 * for. The client's own rate bounds what invented addresses can fill. */
#include "services/quoted/vault.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* GCRA with the server's clock; answers the milliseconds to wait. */
static struct redis_script admit_script = {
    .text = "local t = redis.call('TIME')\n"
            "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
            "local interval = 60000 / tonumber(ARGV[1])\n"
            "local slack = interval * (tonumber(ARGV[2]) - 1)\n"
            "local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)\n"
            "if tat - now > slack then return math.ceil(tat - now - slack) end\n"
            "tat = tat + interval\n"
            "redis.call('SET', KEYS[1], string.format('%.3f', tat), 'PX',"
            " string.format('%d', math.ceil(tat - now) + 1000))\n"
            "return 0\n"};

static struct redis_script put_script = {.text =
                                             "redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])\n"
                                             "redis.call('SET', KEYS[2], '1', 'EX', ARGV[3])\n"
                                             "return 1\n"};

struct key {
    char s[192];
};

static struct key quote_key(const char *id, const char *what)
{
    struct key key;
    snprintf(key.s, sizeof(key.s), "octroi:{%.70s}:%s", id, what);
    return key;
}

int vault_put(struct redis *redis, const char *id, const char *body, int64_t seconds,
              struct err *err)
{
    AUTO_REDIS_REPLY redisReply *reply = NULL;
    struct key quote = quote_key(id, "quote"), tomb = quote_key(id, "expired");
    char live[24], dead[24];
    snprintf(live, sizeof(live), "%" PRId64, seconds);
    snprintf(dead, sizeof(dead), "%" PRId64, seconds + VAULT_TOMBSTONE_S);
    const char *argv[] = {quote.s, tomb.s, body, live, dead};
    return redis_eval(redis, &put_script, 2, ARRAY_LEN(argv), argv, &reply, err);
}

int vault_get(struct redis *redis, const char *id, enum vault_state *state, struct buf *body,
              struct err *err)
{
    AUTO_REDIS_REPLY redisReply *reply = NULL;
    struct key quote = quote_key(id, "quote"), tomb = quote_key(id, "expired");
    if (redis_cmd(redis, REDIS_ARGS("MGET", quote.s, tomb.s), &reply, err) != 0)
        return -1;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return err_set(err, "redis: an unexpected answer to MGET");
    const redisReply *kept = reply->element[0];
    *state = kept->type == REDIS_REPLY_STRING                ? VAULT_KEPT
             : reply->element[1]->type == REDIS_REPLY_STRING ? VAULT_EXPIRED
                                                             : VAULT_UNKNOWN;
    if (*state == VAULT_KEPT)
        buf_add(body, kept->str, kept->len);
    return 0;
}

static int admit(struct redis *redis, const char *key, const struct vault_rate *rate,
                 int64_t *wait_ms, struct err *err)
{
    AUTO_REDIS_REPLY redisReply *reply = NULL;
    char rate_text[24], burst_text[24];
    snprintf(rate_text, sizeof(rate_text), "%" PRId64, rate->per_minute);
    snprintf(burst_text, sizeof(burst_text), "%" PRId64, rate->burst);
    const char *argv[] = {key, rate_text, burst_text};
    if (redis_eval(redis, &admit_script, 1, ARRAY_LEN(argv), argv, &reply, err) != 0)
        return -1;
    if (reply->type != REDIS_REPLY_INTEGER)
        return err_set(err, "redis: an unexpected answer of the rate script");
    *wait_ms = reply->integer;
    return 0;
}

int vault_admit(struct redis *redis, const char *subscriber, const char *client,
                const struct vault_rate *by_subscriber, const struct vault_rate *by_client,
                int64_t *wait_ms, struct err *err)
{
    struct key own, all;
    char who[64];
    vault_client(client, who);
    snprintf(all.s, sizeof(all.s), "octroi:{%s}:quotes", who);
    snprintf(own.s, sizeof(own.s), "octroi:{%.42s}:quotes:%s", subscriber, who);
    if (admit(redis, all.s, by_client, wait_ms, err) != 0)
        return -1;
    return *wait_ms > 0 ? 0 : admit(redis, own.s, by_subscriber, wait_ms, err);
}

void vault_client(const char *address, char out[64])
{
    unsigned char ip[16];
    if (inet_pton(AF_INET6, address, ip) != 1) {
        snprintf(out, 64, "%.60s", address);
        return;
    }
    memset(ip + 8, 0, 8);
    char text[INET6_ADDRSTRLEN];
    inet_ntop(AF_INET6, ip, text, sizeof(text));
    snprintf(out, 64, "%s/64", text);
}
