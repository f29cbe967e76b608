/* One counter a minute in a ring. A window may be as long as the ring and changes with a reload; it
 * is rounded up to whole minutes, and one more because the present minute has just begun. */
#include "services/quoted/tally.h"

#include <assert.h>
#include <string.h>

static uint32_t *slot(struct tally *tally, int64_t minute)
{
    return &tally->counts[minute % TALLY_MINUTES];
}

void tally_init(struct tally *tally)
{
    memset(tally, 0, sizeof(*tally));
    pthread_mutex_init(&tally->lock, NULL);
}

void tally_destroy(struct tally *tally)
{
    pthread_mutex_destroy(&tally->lock);
}

static void recount(struct tally *tally)
{
    tally->sum = 0;
    for (int64_t i = 0; i < tally->window && i <= tally->minute; i++)
        tally->sum += *slot(tally, tally->minute - i);
}

/* Under the lock: what is older than the window counts no more. */
static void advance(struct tally *tally, int64_t now, int64_t window_s)
{
    int64_t minute = now / 60, window = (window_s + 59) / 60 + 1;
    assert(window <= TALLY_MINUTES);
    bool same = minute <= tally->minute && window == tally->window;
    for (int64_t i = 0; tally->minute < minute && i < TALLY_MINUTES; i++)
        *slot(tally, ++tally->minute) = 0;
    if (tally->minute < minute) { /* the whole ring is empty by now */
        memset(tally->counts, 0, sizeof(tally->counts));
        tally->minute = minute;
    }
    tally->window = window;
    if (!same)
        recount(tally);
}

bool tally_add(struct tally *tally, int64_t now, int64_t window_s, int64_t most)
{
    pthread_mutex_lock(&tally->lock);
    advance(tally, now, window_s);
    bool room = tally->sum < most;
    if (room) {
        ++*slot(tally, tally->minute);
        tally->sum++;
    }
    pthread_mutex_unlock(&tally->lock);
    return room;
}

void tally_take_back(struct tally *tally, int64_t now)
{
    pthread_mutex_lock(&tally->lock);
    uint32_t *count = slot(tally, now / 60 < tally->minute ? now / 60 : tally->minute);
    if (*count > 0 && tally->sum > 0) {
        --*count;
        tally->sum--;
    }
    pthread_mutex_unlock(&tally->lock);
}

int64_t tally_count(struct tally *tally, int64_t now, int64_t window_s)
{
    pthread_mutex_lock(&tally->lock);
    advance(tally, now, window_s);
    int64_t count = tally->sum;
    pthread_mutex_unlock(&tally->lock);
    return count;
}
