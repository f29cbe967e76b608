/* The keys of quotes (docs/interfaces.md, "Redis"). A subscriber's rate is counted for each client,
 * because anybody can name anybody's address: a stranger must not use up what its owner may ask
 * for. The client's own rate bounds what invented addresses can fill. */
#include "services/quoted/vault.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* GCRA with the server's clock for a client, then for a subscriber as this client asks for it;
 * answers the milliseconds to wait. Both keys have the client in their hash tag, so that one script
 * may use them in a cluster, too. */
static struct redis_script admit_script = {
    .text = "local t = redis.call('TIME')\n"
            "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
            "for i = 1, 2 do\n"
            " local interval = 60000 / tonumber(ARGV[2 * i - 1])\n"
            " local slack = interval * (tonumber(ARGV[2 * i]) - 1)\n"
            " local tat = math.max(tonumber(redis.call('GET', KEYS[i]) or now), now)\n"
            " if tat - now > slack then return math.ceil(tat - now - slack) end\n"
            " tat = tat + interval\n"
            " redis.call('SET', KEYS[i], string.format('%.3f', tat), 'PX',"
            " string.format('%d', math.ceil(tat - now) + 1000))\n"
            "end\n"
            "return 0\n"};

/* Answers 1 where there was none of this id; '0' seconds: no tombstone. */
static struct redis_script put_script = {
    .text = "local new = 1 - redis.call('EXISTS', KEYS[1])\n"
            "redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])\n"
            "if ARGV[3] ~= '0' then redis.call('SET', KEYS[2], '1', 'EX', ARGV[3]) end\n"
            "return new\n"};

struct key {
    char s[192];
};

static struct key quote_key(const char *id, const char *what)
{
    struct key key;
    snprintf(key.s, sizeof(key.s), "octroi:{%.70s}:%s", id, what);
    return key;
}

int vault_put(struct redis *redis, const char *id, const char *body, int64_t seconds, bool remember,
              bool *added, struct err *err)
{
    AUTO_REDIS_REPLY redisReply *reply = NULL;
    struct key quote = quote_key(id, "quote"), tomb = quote_key(id, "expired");
    char live[24], dead[24];
    snprintf(live, sizeof(live), "%" PRId64, seconds);
    snprintf(dead, sizeof(dead), "%" PRId64, remember ? seconds + VAULT_TOMBSTONE_S : 0);
    const char *argv[] = {quote.s, tomb.s, body, live, dead};
    if (redis_eval(redis, &put_script, 2, ARRAY_LEN(argv), argv, &reply, err) != 0)
        return -1;
    *added = reply->type == REDIS_REPLY_INTEGER && reply->integer != 0;
    return 0;
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

struct number {
    char s[24];
};

static struct number number(int64_t value)
{
    struct number out;
    snprintf(out.s, sizeof(out.s), "%" PRId64, value);
    return out;
}

int vault_admit(struct redis *redis, const char *subscriber, const char *client,
                const struct vault_rate *by_subscriber, const struct vault_rate *by_client,
                int64_t *wait_ms, struct err *err)
{
    AUTO_REDIS_REPLY redisReply *reply = NULL;
    struct number n[] = {number(by_client->per_minute), number(by_client->burst),
                         number(by_subscriber->per_minute), number(by_subscriber->burst)};
    struct key own, all;
    char who[64];
    vault_client(client, who);
    snprintf(all.s, sizeof(all.s), "octroi:{%s}:quotes", who);
    snprintf(own.s, sizeof(own.s), "octroi:{%s}:quotes:%.42s", who, subscriber);
    const char *argv[] = {all.s, own.s, n[0].s, n[1].s, n[2].s, n[3].s};
    if (redis_eval(redis, &admit_script, 2, ARRAY_LEN(argv), argv, &reply, err) != 0)
        return -1;
    if (reply->type != REDIS_REPLY_INTEGER)
        return err_set(err, "redis: an unexpected answer of the rate script");
    *wait_ms = reply->integer;
    return 0;
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
