/* What pg.c (the pool) and pg_run.c (what a session does) share; for nobody else. */
#ifndef LIBCOMMON_PG_INTERNAL_H
#define LIBCOMMON_PG_INTERNAL_H

#include "libcommon/pg.h"

struct pg_conn {
    struct pg *pg;
    PGconn *db;       /* NULL: not connected */
    bool busy;        /* somebody holds it, or the connector is at it; guarded by the pool's lock */
    int64_t limit_ms; /* how long a statement may take as seen from here; 0: no limit */
    char sqlstate[6];
    const struct pg_stmt **prepared; /* what this session knows, by address */
    size_t prepared_count, prepared_cap;
};

/* The answer to what a PQsend function sent (its result), within limit_ms; NULL where the session
 * is lost. */
PGresult *pg_answer(struct pg_conn *conn, int sent);
/* PQexec within limit_ms. */
PGresult *pg_exec(struct pg_conn *conn, const char *sql);

#endif
