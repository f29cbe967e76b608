/* Publishes events to JetStream as CloudEvents, those of one payment in their order: at least once
 * each, with one id. One thread, idle while this instance does not lead. */
#ifndef PAYD_HERALD_H
#define PAYD_HERALD_H

#include "services/payd/courier.h"

struct courier *herald_start(struct payd *payd);

#endif
