/* The second look: what is well behind the cursor is read once more, in ranges, by two endpoints
 * where there are several. A thread with connections of its own reads and asks; what is missing is
 * written by the leader's session alone (store_late). */
#ifndef PAYD_LOOK_H
#define PAYD_LOOK_H

#include "libcommon/metrics.h"
#include "services/payd/late.h"
#include "services/payd/logs.h"
#include "services/payd/rpc.h"

struct look;

struct look_options {
    struct rpc_options rpc; /* its endpoints are asked; stop and observe are set here */
    struct logs_options logs;
    struct pg *pg; /* a session of it is borrowed for each look */
    int64_t follower;
    int64_t behind; /* blocks below the cursor that are not looked at yet, 1 or more */
    int64_t range;  /* most blocks of one look */
    int64_t pause_ms;
    bool others; /* two look, and none may contradict; else the followed one looks alone */
    struct metrics *metrics;
};

struct look *look_start(const struct look_options *options);
void look_join(struct look **look);

/* The endpoint that is followed now; -1: none. */
void look_followed(struct look *look, int endpoint);
/* What is to be written now; NULL: nothing. It stays the look's, until look_done. */
const struct late *look_take(struct look *look);
void look_done(struct look *look);

#define LOOK_DETAIL 512

/* While some endpoint leaves out what another tells of: which block, and who. "": none does. */
void look_disputed(struct look *look, char out[LOOK_DETAIL]);

#endif
