/* What a session of the pool does: statements, transactions, columns, and the leader's lock. */
#include "libcommon/clock.h"
#include "libcommon/pg_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define LOST_CONNECTION "08006"

/* Keeps SQLSTATE and the first line of what the server said. */
static int fail(struct pg_conn *conn, const PGresult *result, const char *what, struct err *err)
{
    const char *state = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (state == NULL || PQstatus(conn->db) != CONNECTION_OK)
        state = LOST_CONNECTION;
    snprintf(conn->sqlstate, sizeof(conn->sqlstate), "%s", state);
    const char *message =
        result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (message == NULL)
        message = PQerrorMessage(conn->db);
    return err_set(err, "postgres: %s: %.*s (SQLSTATE %s)", what, (int)strcspn(message, "\n"),
                   message, conn->sqlstate);
}

/* statement_timeout is the server's; a server that hangs, or a host that is gone without a word,
 * keeps no promise. The socket is shut then, which libpq sees as a lost connection. */
static void wait_result(struct pg_conn *conn, int64_t deadline_ms)
{
    while (PQisBusy(conn->db)) {
        struct pollfd fd = {.fd = PQsocket(conn->db), .events = POLLIN};
        int64_t left = deadline_ms - clock_mono_ms(&clock_system);
        int wait = conn->limit_ms == 0 ? -1 : left > 0 ? (int)left : 0;
        if (poll(&fd, 1, wait) == 0)
            shutdown(fd.fd, SHUT_RDWR);
        if (PQconsumeInput(conn->db) == 0)
            return;
    }
}

/* What was sent was answered, or the session is lost: the last result, the first failure before it,
 * as PQexec does. */
PGresult *pg_answer(struct pg_conn *conn, int sent)
{
    PGresult *kept = NULL;
    int64_t deadline = clock_mono_ms(&clock_system) + conn->limit_ms;
    if (sent != 1)
        return NULL;
    for (;;) {
        wait_result(conn, deadline);
        PGresult *result = PQgetResult(conn->db);
        if (result == NULL)
            return kept;
        if (kept != NULL && PQresultStatus(kept) == PGRES_FATAL_ERROR) {
            PQclear(result);
            continue;
        }
        PQclear(kept);
        kept = result;
    }
}

PGresult *pg_exec(struct pg_conn *conn, const char *sql)
{
    return pg_answer(conn, PQsendQuery(conn->db, sql));
}

static bool is_prepared(const struct pg_conn *conn, const struct pg_stmt *stmt)
{
    for (size_t i = 0; i < conn->prepared_count; i++)
        if (conn->prepared[i] == stmt)
            return true;
    return false;
}

static void remember(struct pg_conn *conn, const struct pg_stmt *stmt)
{
    if (conn->prepared_count == conn->prepared_cap) {
        conn->prepared_cap = conn->prepared_cap == 0 ? 16 : 2 * conn->prepared_cap;
        void *grown = (void *)conn->prepared;
        conn->prepared = mem_resize(grown, conn->prepared_cap, sizeof(*conn->prepared));
    }
    conn->prepared[conn->prepared_count++] = stmt;
}

/* By address on the server, too: two statements that were given one name do not collide. */
static void server_name(const struct pg_stmt *stmt, char out[80])
{
    snprintf(out, 80, "%.48s_%" PRIxPTR, stmt->name, (uintptr_t)stmt);
}

static int prepare(struct pg_conn *conn, const struct pg_stmt *stmt, struct err *err)
{
    if (is_prepared(conn, stmt))
        return 0;
    char name[80];
    server_name(stmt, name);
    AUTO_PG_RESULT PGresult *result =
        pg_answer(conn, PQsendPrepare(conn->db, name, stmt->sql, 0, NULL));
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        return fail(conn, result, stmt->name, err);
    remember(conn, stmt);
    return 0;
}

static bool succeeded(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

int pg_run(struct pg_conn *conn, const struct pg_stmt *stmt, const char *const *values, int count,
           PGresult **out, struct err *err)
{
    char name[80];
    conn->sqlstate[0] = '\0';
    if (out != NULL)
        *out = NULL;
    if (prepare(conn, stmt, err) != 0)
        return -1;
    server_name(stmt, name);
    AUTO_PG_RESULT PGresult *result =
        pg_answer(conn, PQsendQueryPrepared(conn->db, name, count, values, NULL, NULL, 0));
    if (!succeeded(result))
        return fail(conn, result, stmt->name, err);
    if (out != NULL)
        *out = MEM_STEAL(result);
    return 0;
}

/* A command of this library without parameters. */
static int command(struct pg_conn *conn, const char *sql, struct err *err)
{
    conn->sqlstate[0] = '\0';
    AUTO_PG_RESULT PGresult *result = pg_exec(conn, sql);
    if (!succeeded(result))
        return fail(conn, result, sql, err);
    return 0;
}

const char *pg_sqlstate(const struct pg_conn *conn)
{
    return conn->sqlstate;
}

bool pg_retryable(const struct pg_conn *conn)
{
    static const char *const states[] = {"40001", "40P01"};
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        if (strcmp(conn->sqlstate, states[i]) == 0)
            return true;
    /* Connection exceptions, and an administrator's or a crash's shutdown. */
    return strncmp(conn->sqlstate, "08", 2) == 0 || strncmp(conn->sqlstate, "57P", 3) == 0;
}

int pg_begin(struct pg_conn *conn, struct err *err)
{
    return command(conn, "BEGIN", err);
}

int pg_commit(struct pg_conn *conn, struct err *err)
{
    conn->sqlstate[0] = '\0';
    AUTO_PG_RESULT PGresult *result = pg_exec(conn, "COMMIT");
    if (!succeeded(result))
        return fail(conn, result, "COMMIT", err);
    /* COMMIT of a transaction that failed before answers ROLLBACK, and no error. */
    if (strcmp(PQcmdStatus(result), "COMMIT") != 0) {
        snprintf(conn->sqlstate, sizeof(conn->sqlstate), "25P02");
        return err_set(err, "postgres: the transaction was rolled back: a statement in it failed");
    }
    return 0;
}

void pg_rollback(struct pg_conn *conn)
{
    if (PQstatus(conn->db) != CONNECTION_OK || PQtransactionStatus(conn->db) == PQTRANS_IDLE)
        return;
    pg_clear(&(PGresult *){pg_exec(conn, "ROLLBACK")});
}

void pg_clear(PGresult **result)
{
    PQclear(*result);
    *result = NULL;
}

static int column_number(const PGresult *result, const char *column)
{
    int number = PQfnumber(result, column);
    assert(number >= 0);
    return number;
}

const char *pg_text(const PGresult *result, int row, const char *column)
{
    return PQgetvalue(result, row, column_number(result, column));
}

int64_t pg_int(const PGresult *result, int row, const char *column)
{
    return strtoll(pg_text(result, row, column), NULL, 10);
}

bool pg_bool(const PGresult *result, int row, const char *column)
{
    return pg_text(result, row, column)[0] == 't';
}

bool pg_null(const PGresult *result, int row, const char *column)
{
    return PQgetisnull(result, row, column_number(result, column)) != 0;
}

struct pg_num pg_num(int64_t value)
{
    struct pg_num num;
    snprintf(num.s, sizeof(num.s), "%" PRId64, value);
    return num;
}

int pg_try_lock(struct pg_conn *conn, int64_t key, bool *held, struct err *err)
{
    /* A session may take an advisory lock again and again; each would need an unlock of its own. */
    static const struct pg_stmt stmt = {
        "pg_try_lock",
        "SELECT CASE WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory'"
        " AND pid = pg_backend_pid() AND granted AND objsubid = 1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND ((classid::bigint << 32) | objid::bigint) = $1::bigint)"
        " THEN true ELSE pg_try_advisory_lock($1::bigint) END AS held"};
    AUTO_PG_RESULT PGresult *result = NULL;
    if (pg_run(conn, &stmt, PG_PARAMS(pg_num(key).s), &result, err) != 0)
        return -1;
    *held = pg_bool(result, 0, "held");
    return 0;
}
