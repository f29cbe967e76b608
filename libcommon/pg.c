/* A pool of PostgreSQL sessions. One background thread opens them, with jittered backoff, so that a
 * server that is away never costs a request more than its own wait; users only take and give back.
 * Prepared statements are remembered by the address of the program's struct pg_stmt. */
#include "libcommon/pg.h"

#include "libcommon/clock.h"
#include "libcommon/log.h"
#include "libcommon/pg_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define IDLE_CHECK_MS  1000 /* how often the sockets of idle sessions are looked at */
#define CONNECT_S      "5"
#define ANSWER_MS      2000 /* beyond statement_timeout, for the server to say that it is over */

struct pg {
    char *conninfo;
    char *schema;
    char *application;
    int64_t statement_ms;
    void (*on_health)(void *ctx, bool ok, const char *detail);
    void *ctx;

    pthread_t connector;
    pthread_mutex_t lock;   /* guards everything below */
    pthread_cond_t changed; /* a session is free, or work for the connector, or the end */
    struct pg_conn *conns;
    unsigned size;
    bool stopping;
    bool healthy;
    bool told; /* the first state was told */
};

static int64_t now_ms(void)
{
    return clock_mono_ms(&clock_system);
}

static void wait_until(struct pg *pg, int64_t deadline_ms)
{
    struct timespec until = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
    pthread_cond_timedwait(&pg->changed, &pg->lock, &until);
}

/* The first line of a libpq message: the rest repeats the address and hints. */
static void first_line(const char *message, struct err *err)
{
    err_set(err, "%.*s", (int)strcspn(message, "\n"), message);
}

/* Under the lock. Another session than the one that failed to open still serves. */
static bool any_session(const struct pg *pg)
{
    for (unsigned i = 0; i < pg->size; i++)
        if (!pg->conns[i].busy && pg->conns[i].db != NULL)
            return true;
    return false;
}

/* Called without the lock, by the connector only: changes are told in order. */
static void tell_health(struct pg *pg, bool ok, const char *detail)
{
    pthread_mutex_lock(&pg->lock);
    ok = ok || any_session(pg);
    bool changed = !pg->told || pg->healthy != ok;
    pg->told = true;
    pg->healthy = ok;
    pthread_mutex_unlock(&pg->lock);
    if (!changed)
        return;
    if (ok)
        log_info("postgres is connected", LOG_STR(DEPENDENCY, "postgres"));
    else
        log_warn("postgres is away", LOG_STR(DEPENDENCY, "postgres"), LOG_STR(ERROR, detail));
    if (pg->on_health != NULL)
        pg->on_health(pg->ctx, ok, ok ? "" : detail);
}

/* Notices of the server ("schema exists, skipping") are not for standard error. */
static void ignore_notice(void *ctx, const PGresult *result)
{
    (void)ctx;
    (void)result;
}

static int session_settings(struct pg *pg, PGconn *db, struct err *err)
{
    char timeout[32];
    snprintf(timeout, sizeof(timeout), "%" PRId64, pg->statement_ms);
    const char *values[] = {timeout, pg->schema};
    struct pg_conn conn = {.pg = pg, .db = db, .limit_ms = ANSWER_MS};
    int sent =
        PQsendQueryParams(db,
                          "SELECT set_config('statement_timeout', $1, false),"
                          " set_config('search_path', quote_ident($2), false),"
                          " set_config('synchronous_commit', 'on', false),"
                          " set_config('timezone', 'UTC', false),"
                          " set_config('idle_in_transaction_session_timeout', '60000', false)",
                          2, NULL, values, NULL, NULL, 0);
    AUTO_PG_RESULT PGresult *result = pg_answer(&conn, sent);
    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        return 0;
    first_line(PQerrorMessage(db), err);
    return -1;
}

static PGconn *open_session(struct pg *pg, struct err *err)
{
    /* The later entry wins: what an operator wrote into the URI about timeouts stands, as dbname
     * is expanded after these. */
    const char *keys[] = {"connect_timeout",     "tcp_user_timeout", "keepalives_idle",
                          "keepalives_interval", "keepalives_count", "fallback_application_name",
                          "client_encoding",     "dbname",           NULL};
    const char *values[] = {CONNECT_S,       "10000", "10",         "5", "3",
                            pg->application, "UTF8",  pg->conninfo, NULL};
    if (pg_conninfo_check(pg->conninfo, err) != 0)
        return NULL;
    PGconn *db = PQconnectdbParams(keys, values, 1);
    if (PQstatus(db) == CONNECTION_OK) {
        PQsetNoticeReceiver(db, ignore_notice, NULL);
        if (session_settings(pg, db, err) == 0)
            return db;
    } else {
        first_line(PQerrorMessage(db), err);
    }
    PQfinish(db);
    return NULL;
}

/* A server that went away has closed its end of an idle session; what it said before is unread, so
 * the end is asked of the kernel, not of libpq. */
static bool is_stale(PGconn *db)
{
    struct pollfd fd = {.fd = PQsocket(db), .events = POLLIN | POLLRDHUP};
    if (poll(&fd, 1, 0) <= 0)
        return false;
    if ((fd.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0)
        return true;
    return PQconsumeInput(db) == 0 || PQstatus(db) != CONNECTION_OK;
}

static void drop_session(struct pg_conn *conn)
{
    PQfinish(conn->db);
    conn->db = NULL;
    conn->prepared_count = 0;
}

/* Under the lock. A slot that wants a session, or NULL. Closes sessions that died while idle. */
static struct pg_conn *next_to_open(struct pg *pg)
{
    struct pg_conn *found = NULL;
    for (unsigned i = 0; i < pg->size; i++) {
        struct pg_conn *conn = &pg->conns[i];
        if (conn->busy)
            continue;
        if (conn->db != NULL && is_stale(conn->db))
            drop_session(conn);
        if (conn->db == NULL && found == NULL)
            found = conn;
    }
    return found;
}

static int64_t jittered(int64_t ms)
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        random = 0;
    return ms / 2 + random % (uint32_t)(ms / 2 + 1);
}

/* Opens one session outside the lock and puts it into its slot; the wait before the next one. */
static int64_t connect_one(struct pg *pg, struct pg_conn *conn, int64_t *backoff)
{
    struct err err = {""};
    conn->busy = true;
    pthread_mutex_unlock(&pg->lock);
    PGconn *db = open_session(pg, &err);
    tell_health(pg, db != NULL, err.msg);
    pthread_mutex_lock(&pg->lock);
    conn->db = db;
    conn->busy = false;
    if (db != NULL) {
        *backoff = BACKOFF_MIN_MS;
        pthread_cond_broadcast(&pg->changed);
        return 0;
    }
    int64_t wait = jittered(*backoff);
    *backoff = *backoff * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : *backoff * 2;
    return wait;
}

static void *connector(void *arg)
{
    struct pg *pg = arg;
    int64_t backoff = BACKOFF_MIN_MS;
    pthread_mutex_lock(&pg->lock);
    while (!pg->stopping) {
        struct pg_conn *conn = next_to_open(pg);
        int64_t wait = conn == NULL ? IDLE_CHECK_MS : connect_one(pg, conn, &backoff);
        int64_t deadline = now_ms() + wait;
        bool retrying = conn != NULL;
        while (!pg->stopping && now_ms() < deadline) {
            wait_until(pg, deadline);
            if (!retrying)
                break; /* somebody gave back a broken session: look at once */
        }
    }
    pthread_mutex_unlock(&pg->lock);
    return NULL;
}

struct pg *pg_new(const struct pg_options *options)
{
    struct pg *pg = mem_zalloc(sizeof(*pg));
    pg->conninfo = mem_strdup(options->conninfo);
    pg->schema = mem_strdup(options->schema);
    pg->application = mem_strdup(options->application != NULL ? options->application : "octroi");
    pg->statement_ms = options->statement_ms > 0 ? options->statement_ms : 5000;
    pg->size = options->size > 0 ? options->size : 4;
    pg->on_health = options->on_health;
    pg->ctx = options->ctx;
    pg->conns = mem_array(pg->size, sizeof(*pg->conns));
    for (unsigned i = 0; i < pg->size; i++) {
        pg->conns[i].pg = pg;
        pg->conns[i].limit_ms = pg->statement_ms + ANSWER_MS;
    }
    pthread_mutex_init(&pg->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pg->changed, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&pg->connector, NULL, connector, pg) != 0)
        abort();
    return pg;
}

void pg_free(struct pg **pgp)
{
    struct pg *pg = *pgp;
    if (pg == NULL)
        return;
    *pgp = NULL;
    pthread_mutex_lock(&pg->lock);
    pg->stopping = true;
    pthread_cond_broadcast(&pg->changed);
    pthread_mutex_unlock(&pg->lock);
    pthread_join(pg->connector, NULL);
    for (unsigned i = 0; i < pg->size; i++) {
        assert(!pg->conns[i].busy); /* whoever holds a session would use freed memory */
        PQfinish(pg->conns[i].db);
        free(pg->conns[i].prepared);
    }
    pthread_cond_destroy(&pg->changed);
    pthread_mutex_destroy(&pg->lock);
    mem_wipe(pg->conninfo, strlen(pg->conninfo));
    free(pg->conninfo);
    free(pg->schema);
    free(pg->application);
    free(pg->conns);
    free(pg);
}

/* Under the lock: a session that is free and alive. */
static struct pg_conn *take_free(struct pg *pg)
{
    for (unsigned i = 0; i < pg->size; i++) {
        struct pg_conn *conn = &pg->conns[i];
        if (conn->busy || conn->db == NULL)
            continue;
        if (is_stale(conn->db)) {
            drop_session(conn);
            pthread_cond_broadcast(&pg->changed);
            continue;
        }
        conn->busy = true;
        return conn;
    }
    return NULL;
}

int pg_acquire(struct pg *pg, int64_t timeout_ms, struct pg_conn **out, struct err *err)
{
    int64_t deadline = now_ms() + timeout_ms;
    pthread_mutex_lock(&pg->lock);
    struct pg_conn *conn = take_free(pg);
    while (conn == NULL && !pg->stopping && now_ms() < deadline) {
        wait_until(pg, deadline);
        conn = take_free(pg);
    }
    bool healthy = pg->healthy;
    pthread_mutex_unlock(&pg->lock);
    if (conn == NULL)
        return err_set(err, "%s",
                       healthy ? "postgres: every session is in use"
                               : "postgres cannot be reached");
    conn->sqlstate[0] = '\0';
    *out = conn;
    return 0;
}

void pg_release(struct pg_conn **connp)
{
    struct pg_conn *conn = *connp;
    if (conn == NULL)
        return;
    *connp = NULL;
    pg_rollback(conn);
    struct pg *pg = conn->pg;
    pthread_mutex_lock(&pg->lock);
    if (PQstatus(conn->db) != CONNECTION_OK)
        drop_session(conn);
    conn->busy = false;
    pthread_cond_broadcast(&pg->changed);
    pthread_mutex_unlock(&pg->lock);
}
