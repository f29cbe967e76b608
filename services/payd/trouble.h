/* What is wrong with the chain or our way to it, as a row while it lasts and as the events
 * chain.degraded and chain.recovered: each once, also where the leader changes in between. */
#ifndef PAYD_TROUBLE_H
#define PAYD_TROUBLE_H

#include "libcommon/pg.h"

enum trouble {
    TROUBLE_AWAY,         /* no endpoint gives a usable answer */
    TROUBLE_DISAGREEMENT, /* endpoints contradict each other: nothing is confirmed */
    TROUBLE_BUDGET,       /* the wallet's hour is spent: what it was asked for waits */
    TROUBLE_OMISSION,     /* one tells of events behind the cursor that another leaves out */
    TROUBLES
};

struct trouble_site {
    int64_t follower;
    uint64_t chain_id;
};

/* A transaction of its own. *changed: it had not begun (ended) before. age_ms: how long it has
 * lasted already. */
int trouble_begin(struct pg_conn *conn, const struct trouble_site *site, enum trouble which,
                  int64_t age_ms, const char *detail, bool *changed, struct err *err) MUST_USE;
int trouble_end(struct pg_conn *conn, const struct trouble_site *site, enum trouble which,
                bool *changed, struct err *err) MUST_USE;

#endif
