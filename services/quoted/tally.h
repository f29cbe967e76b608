/* How many of something there were within the last minutes: bounds what is kept in Redis for so
 * long. Counted in this process alone; any thread. */
#ifndef QUOTED_TALLY_H
#define QUOTED_TALLY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define TALLY_MINUTES 1600 /* a day and the longest life of a quote */

struct tally {
    pthread_mutex_t lock;
    int64_t minute; /* the last that was counted in */
    int64_t sum;
    int64_t window; /* minutes that count */
    uint32_t counts[TALLY_MINUTES];
};

void tally_init(struct tally *tally);
void tally_destroy(struct tally *tally);
/* One more at `now` (monotonic seconds), where that makes no more than `most` within `window_s`. */
bool tally_add(struct tally *tally, int64_t now, int64_t window_s, int64_t most);
/* It was not one after all. */
void tally_take_back(struct tally *tally, int64_t now);
int64_t tally_count(struct tally *tally, int64_t now, int64_t window_s);

#endif
