/* payd's verbs on the bus: chain.slot, chain.status, payment.activated, and what an operator asks
 * of the wallet. Every instance answers. */
#ifndef PAYD_VERBS_H
#define PAYD_VERBS_H

#include "services/payd/payd.h"

struct verbs;

int verbs_start(struct payd *payd, struct verbs **out, struct err *err) MUST_USE;
void verbs_stop(struct verbs **verbs);

#endif
