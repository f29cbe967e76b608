/* The clerk's thread: waits for the database however long it takes, makes tables and the first
 * owner's key, and from then on puts sums of failed authentications into the audit log. */
#include "services/adminsvc/adminsvc.h"

#include "libcommon/log.h"
#include "services/adminsvc/audit.h"
#include "services/adminsvc/keys.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define TICK_S     2
#define ACQUIRE_MS 2000
#define SUMS_MAX   256

extern const struct pg_migration adminsvc_migrations[];
extern const size_t adminsvc_migrations_count;

static struct audit_entry system_entry(const struct adminsvc *admin, const char *action,
                                       const char *target)
{
    return (struct audit_entry){.at_ms = clock_wall_ms(admin->clock),
                                .actor = "system",
                                .role = "",
                                .client = "",
                                .request_id = "",
                                .action = action,
                                .target = target,
                                .status = 200,
                                .problem = "",
                                .detail = ""};
}

static int bootstrap(struct adminsvc *admin, struct pg_conn *conn, const char *text,
                     struct err *err)
{
    char id[KEYS_ID + 1], hash[KEYS_HASH + 1];
    bool added;
    keys_hash(text, id, hash);
    struct audit_entry entry = system_entry(admin, "key.bootstrap", id);
    if (pg_begin(conn, err) != 0 || keys_bootstrap(conn, text, &added, err) != 0 ||
        (added && audit_append(conn, &entry, err) != 0) || pg_commit(conn, err) != 0) {
        pg_rollback(conn);
        return -1;
    }
    if (added)
        log_info("the first owner's key is in force", LOG_STR(ACTOR, id));
    return 0;
}

static int first_key(struct adminsvc *admin, struct pg_conn *conn, struct err *err)
{
    char *text = NULL;
    bool have;
    if (settings_bootstrap_key(&admin->settings->bootstrap, &text, err) != 0)
        return -1;
    int rc = text != NULL ? bootstrap(admin, conn, text, err) : 0;
    if (text != NULL)
        mem_wipe(text, strlen(text));
    free(text);
    if (rc != 0 || keys_have_owner(conn, &have, err) != 0)
        return -1;
    if (!have)
        log_warn("no owner's key exists and none is configured: nobody can make keys");
    return 0;
}

static int prepare(struct adminsvc *admin, struct err *err)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    if (pg_acquire(admin->pg, ACQUIRE_MS, &conn, err) != 0 ||
        pg_migrate(conn, "admin", adminsvc_migrations, adminsvc_migrations_count, err) != 0)
        return -1;
    return first_key(admin, conn, err);
}

static int write_sum(struct adminsvc *admin, struct pg_conn *conn, const struct failures_sum *sum,
                     struct err *err)
{
    char detail[96];
    snprintf(detail, sizeof(detail), "{\"count\":%lld,\"since_ms\":%lld}", (long long)sum->count,
             (long long)sum->since_ms);
    struct audit_entry entry = system_entry(admin, "auth.failed", "");
    entry.client = sum->client;
    entry.status = 401;
    entry.problem = "invalid-key";
    entry.detail = detail;
    entry.actor = "";
    return audit_append(conn, &entry, err);
}

static int write_all(struct adminsvc *admin, struct pg_conn *conn, const struct failures_sum *sums,
                     size_t count, struct err *err)
{
    if (pg_begin(conn, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (write_sum(admin, conn, &sums[i], err) != 0)
            return -1;
    return pg_commit(conn, err);
}

static void write_failures(struct adminsvc *admin, bool all)
{
    AUTO_PG_CONN struct pg_conn *conn = NULL;
    struct failures_sum sums[SUMS_MAX];
    struct err err;
    size_t count = failures_take(admin->failures, clock_wall_ms(admin->clock), all, sums, SUMS_MAX);
    if (count == 0)
        return;
    if (pg_acquire(admin->pg, ACQUIRE_MS, &conn, &err) == 0 &&
        write_all(admin, conn, sums, count, &err) == 0)
        return;
    log_warn("failed authentications are kept for the audit log", LOG_STR(ERROR, err.msg));
    for (size_t i = 0; i < count; i++)
        failures_put_back(admin->failures, &sums[i]);
}

static void tick(struct adminsvc *admin)
{
    struct err err = {""};
    if (atomic_load(&admin->ready)) {
        write_failures(admin, false);
        return;
    }
    int rc = prepare(admin, &err);
    service_dependency(admin->service, "schema", true, rc == 0, rc == 0 ? "" : err.msg);
    atomic_store(&admin->ready, rc == 0);
}

static void *clerk(void *arg)
{
    struct adminsvc *admin = arg;
    struct timespec until;
    pthread_mutex_lock(&admin->lock);
    while (!admin->stopping) {
        pthread_mutex_unlock(&admin->lock);
        tick(admin);
        pthread_mutex_lock(&admin->lock);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += TICK_S;
        if (!admin->stopping)
            pthread_cond_timedwait(&admin->woken, &admin->lock, &until);
    }
    pthread_mutex_unlock(&admin->lock);
    if (atomic_load(&admin->ready))
        write_failures(admin, true);
    return NULL;
}

void adminsvc_start(struct adminsvc *admin)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&admin->woken, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&admin->lock, NULL);
    if (pthread_create(&admin->clerk, NULL, clerk, admin) != 0)
        abort();
    admin->working = true;
}

void adminsvc_stop(struct adminsvc *admin)
{
    if (!admin->working)
        return;
    pthread_mutex_lock(&admin->lock);
    admin->stopping = true;
    pthread_cond_broadcast(&admin->woken);
    pthread_mutex_unlock(&admin->lock);
    pthread_join(admin->clerk, NULL);
    pthread_cond_destroy(&admin->woken);
    pthread_mutex_destroy(&admin->lock);
}
