/* How many blocks an endpoint lets one question about logs span: found out by its refusals, as
 * providers say it in many ways and change it with the number of answers. Pure. */
#ifndef PAYD_SPAN_H
#define PAYD_SPAN_H

#include <stdint.h>

struct span {
    int64_t most;    /* blocks in one question; 0: no bound is known */
    int64_t refused; /* the last size that was too much */
    int64_t since;   /* answers since then */
};

/* Most blocks to ask for; INT64_MAX: as many as wanted. */
int64_t span_most(const struct span *span);
void span_answered(struct span *span, int64_t blocks);
void span_refused(struct span *span, int64_t blocks);

#endif
