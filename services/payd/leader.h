/* The election, and what the elected one does: follow the chain. One thread. */
#ifndef PAYD_LEADER_H
#define PAYD_LEADER_H

#include "services/payd/payd.h"

struct leader;

struct leader *leader_start(struct payd *payd);
/* payd_stop must have been called. */
void leader_join(struct leader **leader);

#endif
