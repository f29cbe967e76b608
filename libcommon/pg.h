/* PostgreSQL: a bounded pool of sessions with prepared statements, reconnect, timeouts, migrations
 * and the advisory lock of a leader. Text format both ways, parameters only, never a value in SQL.
 */
#ifndef LIBCOMMON_PG_H
#define LIBCOMMON_PG_H

#include "libcommon/err.h"
#include "libcommon/mem.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

struct pg;
struct pg_conn;

struct pg_options {
    const char *conninfo; /* URI or key=value; never logged */
    const char *schema;   /* search_path of every session */
    unsigned size;        /* sessions; 0: 4 */
    int64_t statement_ms; /* statement_timeout; 0: 5000 */
    const char *application;
    void (*on_health)(void *ctx, bool ok, const char *detail); /* after each change; may be NULL */
    void *ctx;
};

/* Whether libpq understands an address; says no more of it than which part is wrong. */
int pg_conninfo_check(const char *conninfo, struct err *err) MUST_USE;
/* Connects in the background, with backoff: never fails for a server that is away. */
struct pg *pg_new(const struct pg_options *options);
void pg_free(struct pg **pg);

/* A session that is connected, waiting up to timeout_ms for one. */
int pg_acquire(struct pg *pg, int64_t timeout_ms, struct pg_conn **out, struct err *err) MUST_USE;
/* Rolls back what is open; sets the caller's pointer to NULL; NULL is fine. */
void pg_release(struct pg_conn **conn);
#define AUTO_PG_CONN CLEANUP(pg_release)

/* A statement of the program: prepared once a session, by address. */
struct pg_stmt {
    const char *name;
    const char *sql;
};

/* Runs a statement; `values` may hold NULLs. *out (may be NULL) is the caller's to PQclear. -1 with
 * the server's message (and SQLSTATE through pg_sqlstate); a broken session is closed and will be
 * replaced. */
int pg_run(struct pg_conn *conn, const struct pg_stmt *stmt, const char *const *values, int count,
           PGresult **out, struct err *err) MUST_USE;
#define PG_PARAMS(...)                                                                             \
    ((const char *const[]){__VA_ARGS__}),                                                          \
        (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

/* SQLSTATE of the session's last failure, "" where there is none (a lost connection is "08006"). */
const char *pg_sqlstate(const struct pg_conn *conn);
/* A retry of the whole transaction may succeed: serialization failure, deadlock, lost connection.
 */
bool pg_retryable(const struct pg_conn *conn);

int pg_begin(struct pg_conn *conn, struct err *err) MUST_USE;
int pg_commit(struct pg_conn *conn, struct err *err) MUST_USE;
void pg_rollback(struct pg_conn *conn);

/* Column readers; the column must exist. NULL reads as "", 0, false. */
const char *pg_text(const PGresult *result, int row, const char *column);
int64_t pg_int(const PGresult *result, int row, const char *column);
bool pg_bool(const PGresult *result, int row, const char *column);
bool pg_null(const PGresult *result, int row, const char *column);
void pg_clear(PGresult **result);
#define AUTO_PG_RESULT CLEANUP(pg_clear)

/* Integer as a parameter: pg_num(n).s lives to the end of the full expression. */
struct pg_num {
    char s[24];
};
struct pg_num pg_num(int64_t value);

struct pg_migration {
    const char *name;
    const char *sql;
};

/* Creates the schema where absent and applies what is missing, each once, in one transaction under
 * an advisory lock: any number of instances may start at once. A migration that was applied with
 * another content is an error. */
int pg_migrate(struct pg_conn *conn, const char *schema, const struct pg_migration *list,
               size_t count, struct err *err) MUST_USE;

/* Leadership: true while this session holds the advisory lock of `key`. Lost with the session. */
int pg_try_lock(struct pg_conn *conn, int64_t key, bool *held, struct err *err) MUST_USE;

#endif
