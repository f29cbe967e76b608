/* Migrations: each service carries its own, embedded, and applies what is missing when it starts.
 * Everything happens in one transaction under an advisory lock of the schema, so that any number of
 * instances may start at once and a failure leaves nothing half done. */
#include "libcommon/pg_internal.h"

#include <openssl/evp.h>
#include <string.h>

static int run_sql(struct pg_conn *conn, const char *what, const char *sql, struct err *err)
{
    AUTO_PG_RESULT PGresult *result = pg_exec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY)
        return 0;
    const char *message = PQerrorMessage(conn->db);
    return err_set(err, "migration %s: %.*s", what, (int)strcspn(message, "\n"), message);
}

/* CREATE SCHEMA IF NOT EXISTS wants a privilege on the database even where the schema exists. */
static int ensure_schema(struct pg_conn *conn, const char *schema, struct err *err)
{
    static const struct pg_stmt exists = {
        "pg_schema_exists", "SELECT to_regnamespace(quote_ident($1)) IS NOT NULL AS there"};
    AUTO_PG_RESULT PGresult *result = NULL;
    if (pg_run(conn, &exists, PG_PARAMS(schema), &result, err) != 0)
        return -1;
    char *name = PQescapeIdentifier(conn->db, schema, strlen(schema));
    AUTO_FREE char *create = mem_printf("CREATE SCHEMA %s", name);
    AUTO_FREE char *table =
        mem_printf("CREATE TABLE IF NOT EXISTS %s.migration (name text PRIMARY KEY,"
                   " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
                   name);
    PQfreemem(name);
    if (!pg_bool(result, 0, "there") && run_sql(conn, "of the schema", create, err) != 0)
        return -1;
    return run_sql(conn, "of the table of migrations", table, err);
}

static void sha256_hex(const char *text, char out[65])
{
    unsigned char hash[32];
    if (EVP_Digest(text, strlen(text), hash, NULL, EVP_sha256(), NULL) != 1)
        abort();
    for (size_t i = 0; i < sizeof(hash); i++) {
        out[2 * i] = "0123456789abcdef"[hash[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[hash[i] & 15];
    }
    out[64] = '\0';
}

static int apply(struct pg_conn *conn, const struct pg_migration *migration, struct err *err)
{
    /* search_path is the schema: `migration` is the table made above. */
    static const struct pg_stmt find = {"pg_migration_find",
                                        "SELECT sha256 FROM migration WHERE name = $1"};
    static const struct pg_stmt record = {"pg_migration_record",
                                          "INSERT INTO migration (name, sha256) VALUES ($1, $2)"};
    AUTO_PG_RESULT PGresult *found = NULL;
    char hash[65];
    sha256_hex(migration->sql, hash);
    if (pg_run(conn, &find, PG_PARAMS(migration->name), &found, err) != 0)
        return -1;
    if (PQntuples(found) > 0 && strcmp(pg_text(found, 0, "sha256"), hash) != 0)
        return err_set(err,
                       "migration %s was applied with another content: restore the file, and put "
                       "the change into a new one",
                       migration->name);
    if (PQntuples(found) > 0)
        return 0;
    if (run_sql(conn, migration->name, migration->sql, err) != 0)
        return -1;
    return pg_run(conn, &record, PG_PARAMS(migration->name, hash), NULL, err);
}

static int migrate(struct pg_conn *conn, const char *schema, const struct pg_migration *list,
                   size_t count, struct err *err)
{
    /* Migrations, and waiting for another instance's, may take longer than a statement is allowed
     * to; the settings end with the transaction. A timeout is armed before its statement runs, so
     * they need a statement of their own. */
    static const struct pg_stmt settings = {
        "pg_migrate_settings",
        "SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true),"
        " set_config('search_path', quote_ident($1), true)"};
    static const struct pg_stmt lock = {
        "pg_migrate_lock",
        "SELECT pg_advisory_xact_lock(hashtextextended('octroi migration ' || $1, 0))"};
    if (pg_begin(conn, err) != 0 || pg_run(conn, &settings, PG_PARAMS(schema), NULL, err) != 0 ||
        pg_run(conn, &lock, PG_PARAMS(schema), NULL, err) != 0)
        return -1;
    if (ensure_schema(conn, schema, err) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (apply(conn, &list[i], err) != 0)
            return -1;
    return pg_commit(conn, err);
}

int pg_migrate(struct pg_conn *conn, const char *schema, const struct pg_migration *list,
               size_t count, struct err *err)
{
    int64_t limit = conn->limit_ms;
    conn->limit_ms = 0;
    int rc = migrate(conn, schema, list, count, err);
    conn->limit_ms = limit;
    if (rc != 0)
        pg_rollback(conn);
    return rc;
}
