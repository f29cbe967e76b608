/* Makes the database ready, then watches it: each second what the leader wrote becomes this
 * instance's readiness and gauges. One thread. */
#ifndef PAYD_WATCH_H
#define PAYD_WATCH_H

#include "services/payd/payd.h"

struct watch;

struct watch *watch_start(struct payd *payd);
/* payd_stop must have been called. */
void watch_join(struct watch **watch);

#endif
