/* The rule of agreement. Silence of one that is up is no consent: it is about to answer or about to
 * count as down. At least one must have said yes, or there was nobody who could contradict. */
#include "services/payd/agree.h"

#include <string.h>

struct tally {
    size_t same, events;
    size_t other;
    bool waiting;
    bool several;                    /* those who say other events say different ones */
    const struct agree_voice *first; /* of them */
};

static void count_events(struct tally *tally, const struct agree_voice *voice)
{
    if (tally->events++ == 0)
        tally->first = voice;
    else if (voice->differs != tally->first->differs ||
             memcmp(voice->said, tally->first->said, sizeof(voice->said)) != 0)
        tally->several = true;
}

static void count(struct tally *tally, const struct agree_voice *voice, int64_t wait_ms)
{
    switch (voice->word) {
    case AGREE_OTHER:
        tally->other++;
        break;
    case AGREE_EVENTS:
        count_events(tally, voice);
        break;
    case AGREE_SAME:
        tally->same++;
        break;
    case AGREE_SILENT:
        tally->waiting = true;
        break;
    case AGREE_LACKS:
        tally->waiting = tally->waiting || voice->lacks_ms < wait_ms;
        break;
    }
}

static struct tally tally_of(const struct agree_voice *voices, size_t n, int64_t wait_ms)
{
    struct tally tally = {0};
    for (size_t i = 0; i < n; i++) {
        if (voices[i].up)
            count(&tally, &voices[i], wait_ms);
    }
    return tally;
}

enum agree_verdict agree_gone(const struct agree_voice *voices, size_t n, int64_t wait_ms)
{
    struct tally tally = tally_of(voices, n, wait_ms);
    size_t have = tally.same + tally.events;
    if (tally.waiting)
        return AGREE_WAIT;
    return have == 0 || tally.other > have ? AGREE_YES : AGREE_NO;
}

enum agree_verdict agree_there(const struct agree_voice *voices, size_t n, int64_t wait_ms)
{
    struct tally tally = tally_of(voices, n, wait_ms);
    if (tally.other > 0)
        return AGREE_NO;
    return tally.waiting ? AGREE_WAIT : AGREE_YES;
}

enum agree_verdict agree_judge(const struct agree_voice *voices, size_t n, int64_t wait_ms)
{
    struct tally tally = tally_of(voices, n, wait_ms);
    if (tally.other > 0 || tally.several || (tally.events > 0 && tally.same > 0))
        return AGREE_NO;
    if (tally.waiting)
        return AGREE_WAIT;
    if (tally.events > 0)
        return AGREE_WRONG;
    return tally.same > 0 ? AGREE_YES : AGREE_WAIT;
}

int64_t agree_head(const struct agree_voice *voices, size_t n)
{
    int64_t first = -1, second = -1;
    size_t known = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t head = voices[i].head;
        if (!voices[i].up || head < 0)
            continue;
        known++;
        if (head >= first) {
            second = first;
            first = head;
        } else if (head > second) {
            second = head;
        }
    }
    return known >= 3 ? second : first;
}

bool agree_behind(const struct agree_voice *voice, int64_t head, int64_t max_lag)
{
    return !voice->up || (voice->head >= 0 && head - voice->head > max_lag);
}
