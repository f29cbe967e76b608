/* From confirmed payments to subscriptions, each revision of a payment once. A hint of payd says
 * where to look; what is true stands in payd's published view. */
#ifndef SUBD_PAYMENTS_H
#define SUBD_PAYMENTS_H

#include "services/subd/subd.h"

struct payments;

/* Consumes payd's hints, and looks every 10 s for what no hint told of. */
int payments_start(struct subd *subd, struct payments **out, struct err *err) MUST_USE;
void payments_stop(struct payments **payments);

#endif
