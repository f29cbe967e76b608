/* Word: state in 2 bits, two counters of 12 bits, a time of 38 bits (8 years). Closed: both
 * counters together are the failures in a row. Open: the time is when the trial may begin.
 * Half-open: requests admitted and succeeded, and the time it began, which tells this trial from an
 * earlier one whose requests come home late. */
#include "services/proxy/breaker.h"

#define COUNT_MAX 0xfffU
#define TIME_MASK ((1ULL << 38) - 1)

struct view {
    enum breaker_state state;
    unsigned admitted, good;
    unsigned failures;
    uint64_t time;
};

static struct view unpack(uint64_t word)
{
    return (struct view){.state = (enum breaker_state)(word >> 62),
                         .admitted = (word >> 50) & COUNT_MAX,
                         .good = (word >> 38) & COUNT_MAX,
                         .failures = (word >> 38) & 0xffffff,
                         .time = word & TIME_MASK};
}

static uint64_t closed(unsigned failures)
{
    return (uint64_t)failures << 38;
}

static uint64_t opened(int64_t until_ms)
{
    return (uint64_t)BREAKER_OPEN << 62 | ((uint64_t)until_ms & TIME_MASK);
}

static uint64_t half_open(unsigned admitted, unsigned good, uint64_t since)
{
    return (uint64_t)BREAKER_HALF_OPEN << 62 | (uint64_t)admitted << 50 | (uint64_t)good << 38 |
           since;
}

static struct view load(const struct breaker *breaker)
{
    return unpack(atomic_load_explicit(&breaker->word, memory_order_relaxed));
}

const char *breaker_state_name(enum breaker_state state)
{
    switch (state) {
    case BREAKER_CLOSED:
        return "closed";
    case BREAKER_OPEN:
        return "open";
    case BREAKER_HALF_OPEN:
        return "half-open";
    }
    return "";
}

enum breaker_state breaker_state(const struct breaker *breaker)
{
    return load(breaker).state;
}

/* The one way from word to word. False: another thread was first, and *word is what it left. */
static bool transition(struct breaker *breaker, uint64_t *word, uint64_t to,
                       const struct backend_note *note)
{
    enum breaker_state before = unpack(*word).state, after = unpack(to).state;
    if (!atomic_compare_exchange_weak_explicit(&breaker->word, word, to, memory_order_acq_rel,
                                               memory_order_relaxed))
        return false;
    if (before != after)
        backend_note_change(note, "breaker", breaker_state_name(before), breaker_state_name(after),
                            before == BREAKER_CLOSED ? unpack(*word).failures + 1 : 0);
    return true;
}

static bool due(const struct view *view, int64_t now_ms)
{
    return view->time <= ((uint64_t)now_ms & TIME_MASK);
}

/* All that were admitted may have come home under rules that asked for more of them: then nobody
 * else would end the trial. */
static bool trial_admits(unsigned admitted, unsigned good, const struct breaker_config *rules)
{
    return admitted < rules->half_open_requests || admitted == good;
}

bool breaker_admits(const struct breaker *breaker, const struct breaker_config *rules,
                    int64_t now_ms)
{
    if (rules->failures == 0)
        return true;
    struct view view = load(breaker);
    switch (view.state) {
    case BREAKER_CLOSED:
        return true;
    case BREAKER_OPEN:
        return due(&view, now_ms);
    case BREAKER_HALF_OPEN:
        return trial_admits(view.admitted, view.good, rules);
    }
    return true;
}

int64_t breaker_wait_ms(const struct breaker *breaker, const struct breaker_config *rules,
                        int64_t now_ms)
{
    struct view view = load(breaker);
    if (rules->failures == 0 || view.state != BREAKER_OPEN || due(&view, now_ms))
        return 0;
    return (int64_t)(view.time - ((uint64_t)now_ms & TIME_MASK));
}

bool breaker_enter(struct breaker *breaker, const struct breaker_config *rules, int64_t now_ms,
                   const struct backend_note *note, uint64_t *trial)
{
    uint64_t word = atomic_load_explicit(&breaker->word, memory_order_relaxed);
    *trial = 0;
    while (rules->failures) {
        struct view view = unpack(word);
        uint64_t since = view.state == BREAKER_HALF_OPEN ? view.time : (uint64_t)now_ms & TIME_MASK;
        if (view.state == BREAKER_CLOSED)
            break;
        if (view.state == BREAKER_OPEN && !due(&view, now_ms))
            return false;
        unsigned admitted = view.state == BREAKER_HALF_OPEN ? view.admitted : 0;
        unsigned good = view.state == BREAKER_HALF_OPEN ? view.good : 0;
        if (!trial_admits(admitted, good, rules))
            return false;
        if (transition(breaker, &word, half_open(admitted + 1, good, since), note)) {
            *trial = since + 1;
            break;
        }
    }
    return true;
}

/* What a request of the present trial leaves. */
static uint64_t after_trial(const struct view *view, const struct breaker_config *rules,
                            enum breaker_result result, int64_t now_ms)
{
    switch (result) {
    case BREAKER_OK:
        if (view->good + 1 >= rules->half_open_requests)
            return closed(0);
        return half_open(view->admitted, view->good + 1, view->time);
    case BREAKER_FAILED:
        return opened(now_ms + rules->open);
    case BREAKER_UNKNOWN:
        break;
    }
    return half_open(view->admitted ? view->admitted - 1 : 0, view->good, view->time);
}

static uint64_t after_closed(const struct view *view, const struct breaker_config *rules,
                             enum breaker_result result, int64_t now_ms)
{
    switch (result) {
    case BREAKER_OK:
        return closed(0);
    case BREAKER_FAILED:
        if (view->failures + 1 >= rules->failures)
            return opened(now_ms + rules->open);
        return closed(view->failures + 1);
    case BREAKER_UNKNOWN:
        break;
    }
    return closed(view->failures);
}

bool breaker_leave(struct breaker *breaker, const struct breaker_config *rules, uint64_t trial,
                   enum breaker_result result, int64_t now_ms, const struct backend_note *note)
{
    uint64_t word = atomic_load_explicit(&breaker->word, memory_order_relaxed);
    uint64_t to;
    if (rules->failures == 0)
        return false;
    do {
        struct view view = unpack(word);
        if (trial && view.state == BREAKER_HALF_OPEN && view.time == trial - 1)
            to = after_trial(&view, rules, result, now_ms);
        else if (!trial && view.state == BREAKER_CLOSED)
            to = after_closed(&view, rules, result, now_ms);
        else
            return false;
    } while (to != word && !transition(breaker, &word, to, note));
    return trial && unpack(to).state == BREAKER_CLOSED;
}
