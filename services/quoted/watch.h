/* Whether there can be quotes, as far as that hangs on the chain: what payd's last answer said, and
 * how many threads may wait for the next one. A request is refused at once while the last answer
 * was a refusal; only the probe then goes on asking. */
#ifndef QUOTED_WATCH_H
#define QUOTED_WATCH_H

#include "libcommon/clock.h"

#include <stdbool.h>
#include <stddef.h>

#define WATCH_PLACES_MAX 64

enum watch_state {
    WATCH_UNKNOWN, /* nothing was heard since the start, or since the keys changed */
    WATCH_OPEN,
    WATCH_AWAY,   /* payd or the chain is away */
    WATCH_SIGNER, /* the contract's signer is none of our keys */
};

enum watch_entry {
    WATCH_ENTERED,
    WATCH_REFUSED, /* as the state says */
    WATCH_BUSY,    /* those who wait already have waited too long */
};

struct watch;

struct watch_view {
    enum watch_state state;
    char detail[200];
    int64_t heard_ms; /* monotonic: of the last answer, whatever it said; 0: none */
};

/* `threads` that answer requests; some of them are kept for those who need no chain. */
struct watch *watch_new(unsigned threads, const struct clock *clock);
void watch_free(struct watch **watch);

/* Before payd is asked: waits a moment at most. *place is to be left by watch_leave. */
enum watch_entry watch_enter(struct watch *watch, unsigned *place);
void watch_leave(struct watch *watch, unsigned place);
/* What was heard, or that nothing was. true: it is another state than before. */
bool watch_tell(struct watch *watch, enum watch_state state, const char *detail);
void watch_read(struct watch *watch, struct watch_view *out);

#endif
