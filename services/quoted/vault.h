/* Quotes in Redis: kept until they expire, remembered for a day after, and counted so that nobody
 * fills it. Everything here may be lost: a quote can be asked for again and is the same. */
#ifndef QUOTED_VAULT_H
#define QUOTED_VAULT_H

#include "libcommon/buf.h"
#include "libcommon/redis.h"

#define VAULT_TOMBSTONE_S 86400

enum vault_state { VAULT_UNKNOWN, VAULT_KEPT, VAULT_EXPIRED };

struct vault_rate {
    int64_t per_minute, burst;
};

/* `id` is the quote's id in lower case. `remember`: a tombstone for a day after. *added: it was not
 * there before. */
int vault_put(struct redis *redis, const char *id, const char *body, int64_t seconds, bool remember,
              bool *added, struct err *err) MUST_USE;
int vault_get(struct redis *redis, const char *id, enum vault_state *state, struct buf *body,
              struct err *err) MUST_USE;

/* Counts one quote of `client` for `subscriber` (an address in lower case). *wait_ms is 0, or how
 * long to wait: then nothing was counted for the subscriber. */
int vault_admit(struct redis *redis, const char *subscriber, const char *client,
                const struct vault_rate *by_subscriber, const struct vault_rate *by_client,
                int64_t *wait_ms, struct err *err) MUST_USE;
/* What counts as one client: an IPv4 address, the /64 of an IPv6 one. */
void vault_client(const char *address, char out[64]);

#endif
