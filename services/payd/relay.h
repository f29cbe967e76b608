/* Tells subd what happened to payments, again and again until it has said that it applied it. One
 * thread, idle while this instance does not lead. */
#ifndef PAYD_RELAY_H
#define PAYD_RELAY_H

#include "services/payd/courier.h"

struct courier *relay_start(struct payd *payd);

/* "<payment>:<revision>:<attempt>": the server drops what it has seen within its window, so each
 * attempt is one of its own. */
void relay_message_id(const char *payment, int64_t revision, int64_t attempt, char out[128]);

#endif
