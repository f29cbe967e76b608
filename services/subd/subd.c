/* The two things that every part does with the shared connections. */
#include "services/subd/subd.h"

#include "services/subd/ticker.h"

int subd_session(struct subd *subd, struct pg_conn **out, struct err *err)
{
    if (!atomic_load(&subd->migrated))
        return err_set(err, "the database is not ready yet");
    return pg_acquire(subd->pg, SUBD_PG_WAIT_MS, out, err);
}

void subd_changed(struct subd *subd)
{
    if (subd->relay)
        ticker_wake(subd->relay);
}
