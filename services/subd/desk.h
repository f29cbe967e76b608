/* What the bus asks subd: check, keys, lease, revoke. Each instance answers a share. */
#ifndef SUBD_DESK_H
#define SUBD_DESK_H

#include "services/subd/subd.h"

struct desk;

int desk_start(struct subd *subd, struct desk **out, struct err *err) MUST_USE;
void desk_stop(struct desk **desk);

#endif
