/* The heartbeat that proxies live by: each second, with the health of what subd needs and the
 * number of the last change. */
#ifndef SUBD_BEAT_H
#define SUBD_BEAT_H

#include "services/subd/subd.h"

struct beat;

int beat_start(struct subd *subd, struct beat **out, struct err *err) MUST_USE;
void beat_stop(struct beat **beat);

#endif
