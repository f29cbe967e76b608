/* The rule of agreement. Silence of one that is up is no consent: it is about to answer or about to
 * count as down. At least one must have said yes, or there was nobody who could contradict. */
#include "services/payd/agree.h"

enum agree_verdict agree_judge(const struct agree_voice *voices, size_t count, int64_t wait_ms)
{
    bool any = false, waiting = false;
    for (size_t i = 0; i < count; i++) {
        if (!voices[i].up)
            continue;
        switch (voices[i].word) {
        case AGREE_OTHER:
            return AGREE_NO;
        case AGREE_SAME:
            any = true;
            break;
        case AGREE_SILENT:
            waiting = true;
            break;
        case AGREE_LACKS:
            waiting = waiting || voices[i].lacks_ms < wait_ms;
            break;
        }
    }
    return any && !waiting ? AGREE_YES : AGREE_WAIT;
}

int64_t agree_head(const struct agree_voice *voices, size_t count)
{
    int64_t first = -1, second = -1;
    size_t known = 0;
    for (size_t i = 0; i < count; i++) {
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
