/* Plans in the database: what gives each tier of a price book its 16-bit number. */
#ifndef QUOTED_PLANS_H
#define QUOTED_PLANS_H

#include "libcommon/pg.h"
#include "services/quoted/pricebook.h"

/* In one transaction: finds or makes the plan of each tier and sets it in the book, publishes the
 * services, notes the book in the history. Repeating it changes nothing. */
int plans_sync(struct pg_conn *conn, struct pricebook *book, struct err *err) MUST_USE;

#endif
