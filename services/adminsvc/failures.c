/* A small hash table with a bounded probe. A client that finds no place is counted under "other",
 * which is never blocked: many addresses must not be able to lock out one more. */
#include "services/adminsvc/failures.h"

#include "libcommon/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define SLOTS 4096
#define PROBE 16
#define OTHER "other"

struct slot {
    struct failures_sum sum; /* count: what is not written yet */
    int64_t failed;          /* all of the window */
};

struct failures {
    pthread_mutex_t lock;
    int64_t allowed;
    int64_t budget_since;
    int64_t budget_used;
    struct slot other;
    struct slot slots[SLOTS];
};

struct failures *failures_new(int64_t allowed)
{
    struct failures *failures = mem_zalloc(sizeof(*failures));
    failures->allowed = allowed;
    pthread_mutex_init(&failures->lock, NULL);
    snprintf(failures->other.sum.client, FAILURES_CLIENT, "%s", OTHER);
    return failures;
}

void failures_free(struct failures **failures)
{
    if (*failures == NULL)
        return;
    pthread_mutex_destroy(&(*failures)->lock);
    free(*failures);
    *failures = NULL;
}

static size_t hash_of(const char *text)
{
    uint64_t hash = 14695981039346656037ULL;
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211ULL;
    return (size_t)(hash >> 20);
}

static bool over(const struct slot *slot, int64_t now_ms)
{
    return now_ms - slot->sum.since_ms >= FAILURES_WINDOW_MS || now_ms < slot->sum.since_ms;
}

static struct slot *find(struct failures *failures, const char *client)
{
    size_t at = hash_of(client);
    for (size_t i = 0; i < PROBE; i++) {
        struct slot *slot = &failures->slots[(at + i) % SLOTS];
        if (slot->failed > 0 && strncmp(slot->sum.client, client, FAILURES_CLIENT - 1) == 0)
            return slot;
    }
    return NULL;
}

/* A place that is free, or whose window is over and told of. */
static struct slot *claim(struct failures *failures, const char *client, int64_t now_ms)
{
    size_t at = hash_of(client);
    for (size_t i = 0; i < PROBE; i++) {
        struct slot *slot = &failures->slots[(at + i) % SLOTS];
        if (slot->failed > 0 && (slot->sum.count > 0 || !over(slot, now_ms)))
            continue;
        *slot = (struct slot){.sum.since_ms = now_ms};
        snprintf(slot->sum.client, FAILURES_CLIENT, "%s", client);
        return slot;
    }
    return &failures->other;
}

int64_t failures_blocked(struct failures *failures, const char *client, int64_t now_ms)
{
    int64_t wait = 0;
    pthread_mutex_lock(&failures->lock);
    const struct slot *slot = find(failures, client);
    if (slot != NULL && !over(slot, now_ms) && slot->failed >= failures->allowed)
        wait = slot->sum.since_ms + FAILURES_WINDOW_MS - now_ms;
    pthread_mutex_unlock(&failures->lock);
    return wait;
}

static bool within_budget(struct failures *failures, int64_t now_ms)
{
    if (now_ms - failures->budget_since >= FAILURES_WINDOW_MS || now_ms < failures->budget_since) {
        failures->budget_since = now_ms;
        failures->budget_used = 0;
    }
    return failures->budget_used++ < FAILURES_AT_ONCE;
}

/* A window that is over begins anew; what was not written of it yet stays in the count. */
static void renew(struct slot *slot, int64_t now_ms)
{
    if (!over(slot, now_ms))
        return;
    slot->failed = 0;
    slot->sum.since_ms = now_ms;
}

bool failures_note(struct failures *failures, const char *client, int64_t now_ms)
{
    pthread_mutex_lock(&failures->lock);
    struct slot *slot = find(failures, client);
    if (slot == NULL)
        slot = claim(failures, client, now_ms);
    renew(slot, now_ms);
    bool now = slot != &failures->other && slot->failed == 0 && within_budget(failures, now_ms);
    slot->failed++;
    slot->sum.count += now ? 0 : 1;
    pthread_mutex_unlock(&failures->lock);
    return now;
}

static size_t take(struct slot *slot, int64_t now_ms, bool all, struct failures_sum *out)
{
    if (slot->sum.count == 0 || (!all && !over(slot, now_ms)))
        return 0;
    *out = slot->sum;
    slot->sum.count = 0;
    return 1;
}

size_t failures_take(struct failures *failures, int64_t now_ms, bool all, struct failures_sum *out,
                     size_t max)
{
    size_t count = 0;
    pthread_mutex_lock(&failures->lock);
    if (max > 0)
        count = take(&failures->other, now_ms, all, out);
    for (size_t i = 0; i < SLOTS && count < max; i++)
        count += take(&failures->slots[i], now_ms, all, &out[count]);
    pthread_mutex_unlock(&failures->lock);
    return count;
}

void failures_put_back(struct failures *failures, const struct failures_sum *sum)
{
    pthread_mutex_lock(&failures->lock);
    struct slot *slot = find(failures, sum->client);
    if (slot == NULL)
        slot = &failures->other;
    if (slot == &failures->other && slot->sum.count == 0)
        slot->sum.since_ms = sum->since_ms;
    slot->sum.count += sum->count;
    pthread_mutex_unlock(&failures->lock);
}
