/* Whether a change of a subscription was missed: changes are numbered without a gap, and the
 * heartbeat says how far subd is. */
#ifndef PROXY_BILLING_HEAD_H
#define PROXY_BILLING_HEAD_H

#include <stdbool.h>
#include <stdint.h>

struct billing_head {
    bool known;
    int64_t seen;
    int64_t ahead_ns; /* since when the heartbeat is ahead; 0: it is not */
};

/* Both: true where everything is to be checked again. */
bool billing_head_changed(struct billing_head *head, int64_t number);
bool billing_head_beat(struct billing_head *head, int64_t number, int64_t now_ns);

#endif
