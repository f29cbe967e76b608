/* Redis: a bounded pool of connections with reconnect and timeouts. What is kept there may be lost
 * at any time. */
#ifndef LIBCOMMON_REDIS_H
#define LIBCOMMON_REDIS_H

#include "libcommon/err.h"
#include "libcommon/mem.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

struct redis;

struct redis_options {
    const char
        *url;      /* redis://[user:password@]host:port[/db] or unix:///path; never logged whole */
    unsigned size; /* connections; 0: 4 */
    int64_t timeout_ms; /* connect and each command; 0: 1000 */
    void (*on_health)(void *ctx, bool ok, const char *detail);
    void *ctx;
};

/* Never fails for a server that is away; a background thread pings and reconnects with backoff. -1:
 * the URL is wrong. */
int redis_new(const struct redis_options *options, struct redis **out, struct err *err) MUST_USE;
void redis_free(struct redis **redis);
bool redis_healthy(struct redis *redis);

/* One command, binary-safe arguments. *out is the caller's to freeReplyObject; an error reply is
 * -1. Retried once, only where the connection was found dead before anything was sent. */
int redis_run(struct redis *redis, int argc, const char *const *argv, const size_t *lens,
              redisReply **out, struct err *err) MUST_USE;
/* The same for NUL-terminated arguments: REDIS_ARGS("GET", key). */
int redis_cmd(struct redis *redis, int argc, const char *const *argv, redisReply **out,
              struct err *err) MUST_USE;
#define REDIS_ARGS(...)                                                                            \
    ((int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))),                    \
        ((const char *const[]){__VA_ARGS__})

/* A Lua script by EVALSHA, loaded where the server does not know it. */
struct redis_script {
    const char *text;
    char sha[41]; /* filled on first use */
};

int redis_eval(struct redis *redis, struct redis_script *script, int keys, int argc,
               const char *const *argv, redisReply **out, struct err *err) MUST_USE;

void redis_reply_free(redisReply **reply);
#define AUTO_REDIS_REPLY CLEANUP(redis_reply_free)

#endif
