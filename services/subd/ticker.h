/* A background job: a thread that calls a step, waits as long as the step says or until it is
 * woken, and calls it again. */
#ifndef SUBD_TICKER_H
#define SUBD_TICKER_H

#include "libcommon/err.h"

#include <stdint.h>

struct ticker;

/* Returns the milliseconds until the next step; TICKER_NEVER: only when woken. */
typedef int64_t ticker_step(void *ctx);
#define TICKER_NEVER (-1)

int ticker_start(const char *name, ticker_step *step, void *ctx, struct ticker **out,
                 struct err *err) MUST_USE;
/* Any thread: the next step begins at once, or right after the running one. */
void ticker_wake(struct ticker *ticker);
/* Waits for the running step. NULL is fine. */
void ticker_stop(struct ticker **ticker);

#endif
