/* How a change of a backend's state becomes known: one counter and one log line for each, whichever
 * module decides it. Any thread; never blocks. */
#ifndef PROXY_BACKEND_NOTE_H
#define PROXY_BACKEND_NOTE_H

#include <stdint.h>

struct metrics;

/* Who it is about. `metrics` NULL: only the log line. */
struct backend_note {
    struct metrics *metrics;
    const char *pool, *backend;
};

/* `what` is the kind of state (breaker, health, ejection) and a metric label; `from` and `to` are
 * names of states. `count` is told where it is not 0. */
void backend_note_change(const struct backend_note *note, const char *what, const char *from,
                         const char *to, int64_t count);

#endif
