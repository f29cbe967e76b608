/* The states of a subscription and the one function that moves it between them. */
#ifndef SUBD_STATE_H
#define SUBD_STATE_H

#include "libcommon/metrics.h"
#include "libcommon/proto/sub.h"

enum state_event {
    STATE_PAID,    /* its confirmed payments give a grant that runs */
    STATE_UNPAID,  /* no confirmed payment is left */
    STATE_LAPSED,  /* its grant is over */
    STATE_REVOKED, /* an operator took it away */
};

const char *state_event_name(enum state_event event);

/* -1: the event changes nothing in this state. */
int state_transition(enum sub_state from, enum state_event event, enum sub_state *to) MUST_USE;

/* Counts and logs a transition that is committed. */
void state_announce(struct metrics *metrics, const char *subscription, int64_t version,
                    enum sub_state from, enum sub_state to, enum state_event event);

#endif
