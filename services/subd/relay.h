/* The outbox on its way to the proxies: one instance at a time numbers changes without a gap and
 * publishes them in that order. */
#ifndef SUBD_RELAY_H
#define SUBD_RELAY_H

#include "services/subd/subd.h"

struct relay;

/* Sets subd->relay, which is woken after each change. */
int relay_start(struct subd *subd, struct relay **out, struct err *err) MUST_USE;
void relay_stop(struct relay **relay);

#endif
