/* Idempotent answers in Redis: one key for each request, "P <fingerprint>" while it is under way,
 * then "D<status> <fingerprint>\n<body>" for a day. */
#include "libcommon/http_store.h"

#include "libcommon/redis.h"

#include <stdio.h>
#include <string.h>

#define CLAIM_MS "60000"    /* longer than any handler runs */
#define KEEP_MS  "86400000" /* 24 h */

static char *key_of(const char *key)
{
    return mem_printf("octroi:{%s}:idem", key);
}

static enum http_store_result replay(const redisReply *reply, const char *fingerprint,
                                     unsigned *status, struct buf *body)
{
    size_t prefix = strlen(fingerprint);
    const char *value = reply->str;
    size_t len = reply->len;
    if (len >= 2 && value[0] == 'P')
        return strcmp(value + 2, fingerprint) == 0 ? HTTP_STORE_BUSY : HTTP_STORE_MISMATCH;
    unsigned code;
    if (len < 6 || sscanf(value, "D%3u ", &code) != 1)
        return HTTP_STORE_ERROR;
    if (len < 6 + prefix || memcmp(value + 5, fingerprint, prefix) != 0 ||
        value[5 + prefix] != '\n')
        return HTTP_STORE_MISMATCH;
    *status = code;
    buf_add(body, value + 6 + prefix, len - 6 - prefix);
    return HTTP_STORE_REPLAY;
}

static enum http_store_result claim(void *ctx, const char *key, const char *fingerprint,
                                    unsigned *status, struct buf *body)
{
    AUTO_FREE char *name = key_of(key);
    AUTO_FREE char *value = mem_printf("P %s", fingerprint);
    AUTO_REDIS_REPLY redisReply *set = NULL;
    AUTO_REDIS_REPLY redisReply *got = NULL;
    if (redis_cmd(ctx, REDIS_ARGS("SET", name, value, "NX", "PX", CLAIM_MS), &set, NULL) != 0)
        return HTTP_STORE_ERROR;
    if (set->type == REDIS_REPLY_STATUS)
        return HTTP_STORE_NEW;
    if (redis_cmd(ctx, REDIS_ARGS("GET", name), &got, NULL) != 0)
        return HTTP_STORE_ERROR;
    if (got->type != REDIS_REPLY_STRING) /* it ended between the two: the client may ask again */
        return HTTP_STORE_BUSY;
    return replay(got, fingerprint, status, body);
}

/* ARGV: the claim, the answer ("" releases), milliseconds. A key that somebody else's request has
 * taken meanwhile is left alone. */
static struct redis_script finish_script = {
    .text = "local v = redis.call('GET', KEYS[1])\n"
            "if v and v ~= ARGV[1] then return 0 end\n"
            "if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end\n"
            "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])\n"
            "return 1\n"};

static void finish(void *ctx, const char *key, const char *fingerprint, unsigned status,
                   const char *body, size_t len)
{
    AUTO_FREE char *name = key_of(key);
    AUTO_FREE char *claimed = mem_printf("P %s", fingerprint);
    AUTO_BUF struct buf answer = {0};
    AUTO_REDIS_REPLY redisReply *reply = NULL;
    if (status < 500) {
        buf_printf(&answer, "D%03u %s\n", status, fingerprint);
        buf_add(&answer, body, len);
    }
    const char *text = answer.data == NULL ? "" : answer.data;
    /* Where this is lost the claim ends by itself, and a repeated request is a new one. */
    if (redis_eval(ctx, &finish_script, 1, REDIS_ARGS(name, claimed, text, KEEP_MS), &reply,
                   NULL) != 0)
        return;
}

struct http_store *http_store_redis_new(struct redis *redis)
{
    struct http_store *store = mem_zalloc(sizeof(*store));
    store->ctx = redis;
    store->claim = claim;
    store->finish = finish;
    return store;
}

void http_store_redis_free(struct http_store **store)
{
    free(*store);
    *store = NULL;
}
