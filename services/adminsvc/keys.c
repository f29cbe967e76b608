/* Keys in the database. Those that end stay as rows: the audit log names them for ever. */
#include "services/adminsvc/keys.h"

#include "libcommon/eth/hex.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static const char *const role_names[] = {"viewer", "operator", "owner"};

#define RECORD                                                                                     \
    "id, role, label, created_by, coalesce(revoked_by, '') AS revoked_by,"                         \
    " to_char(created_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS created,"                           \
    " to_char(revoked_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS revoked"

static const struct pg_stmt find_stmt = {
    "admin_key_find", "SELECT hash, role FROM key WHERE id = $1 AND revoked_at IS NULL"};
static const struct pg_stmt add_stmt = {"admin_key_add",
                                        "INSERT INTO key (id, hash, role, label, created_by)"
                                        " VALUES ($1, $2, $3, $4, $5) RETURNING " RECORD};
static const struct pg_stmt list_stmt = {
    "admin_key_list", "SELECT " RECORD " FROM key ORDER BY created_at DESC, id LIMIT 1000"};
static const struct pg_stmt get_stmt = {"admin_key_get",
                                        "SELECT " RECORD " FROM key WHERE id = $1"};
static const struct pg_stmt remove_stmt = {
    "admin_key_remove", "UPDATE key SET revoked_at = now(), revoked_by = $2 WHERE id = $1"
                        " AND revoked_at IS NULL"};
static const struct pg_stmt lock_stmt = {"admin_key_lock",
                                         "LOCK TABLE key IN SHARE ROW EXCLUSIVE MODE"};
static const struct pg_stmt owners_stmt = {"admin_key_owners",
                                           "SELECT count(*) AS count FROM key WHERE role = 'owner'"
                                           " AND revoked_at IS NULL AND id <> $1"};
static const struct pg_stmt first_stmt = {
    "admin_key_first",
    "INSERT INTO key (id, hash, role, label, created_by) VALUES ($1, $2, 'owner',"
    " 'bootstrap', 'system') ON CONFLICT DO NOTHING RETURNING id"};

const char *keys_role_name(enum keys_role role)
{
    return role_names[role];
}

int keys_role_parse(const char *name, enum keys_role *out)
{
    for (size_t i = 0; i < ARRAY_LEN(role_names); i++) {
        if (strcmp(role_names[i], name) == 0) {
            *out = (enum keys_role)i;
            return 0;
        }
    }
    return -1;
}

bool keys_id_valid(const char *id)
{
    return strlen(id) == KEYS_ID && strncmp(id, "key_", 4) == 0 &&
           strspn(id + 4, "0123456789abcdef") == KEYS_ID - 4;
}

void keys_make(char out[KEYS_TEXT + 1])
{
    unsigned char random[32];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        abort();
    memcpy(out, "octroi_", 7);
    hex_encode_bare(random, sizeof(random), out + 7);
    mem_wipe(random, sizeof(random));
}

void keys_hash(const char *text, char id[KEYS_ID + 1], char hash[KEYS_HASH + 1])
{
    unsigned char digest[32];
    if (EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL) != 1)
        abort();
    hex_encode_bare(digest, sizeof(digest), hash);
    snprintf(id, KEYS_ID + 1, "key_%.16s", hash);
}

int keys_find(struct pg_conn *conn, const char *text, bool *found, struct keys_identity *out,
              struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    char hash[KEYS_HASH + 1];
    char kept[KEYS_HASH + 1] = "";
    keys_hash(text, out->id, hash);
    if (pg_run(conn, &find_stmt, PG_PARAMS(out->id), &row, err) != 0)
        return -1;
    bool there = PQntuples(row) == 1 && keys_role_parse(pg_text(row, 0, "role"), &out->role) == 0;
    if (there)
        snprintf(kept, sizeof(kept), "%s", pg_text(row, 0, "hash"));
    /* Also where there is none: the time tells nothing. */
    bool same = CRYPTO_memcmp(hash, kept, sizeof(hash)) == 0;
    *found = there && same;
    return 0;
}

static json_t *record_json(const PGresult *rows, int row)
{
    bool revoked = !pg_null(rows, row, "revoked");
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "id", pg_text(rows, row, "id"), "role",
        pg_text(rows, row, "role"), "label", pg_text(rows, row, "label"), "created_at",
        pg_text(rows, row, "created"), "created_by", pg_text(rows, row, "created_by"), "revoked_at",
        revoked ? json_string(pg_text(rows, row, "revoked")) : json_null(), "revoked_by",
        revoked ? json_string(pg_text(rows, row, "revoked_by")) : json_null());
}

int keys_add(struct pg_conn *conn, const char *text, enum keys_role role, const char *label,
             const char *by, json_t **out, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    char id[KEYS_ID + 1], hash[KEYS_HASH + 1];
    keys_hash(text, id, hash);
    if (pg_run(conn, &add_stmt, PG_PARAMS(id, hash, keys_role_name(role), label, by), &row, err) !=
        0)
        return -1;
    *out = record_json(row, 0);
    return 0;
}

int keys_list(struct pg_conn *conn, json_t **out, struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    if (pg_run(conn, &list_stmt, NULL, 0, &rows, err) != 0)
        return -1;
    *out = json_array();
    for (int i = 0; i < PQntuples(rows); i++)
        json_array_append_new(*out, record_json(rows, i));
    return 0;
}

static int other_owners(struct pg_conn *conn, const char *than, int64_t *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    if (pg_run(conn, &owners_stmt, PG_PARAMS(than), &row, err) != 0)
        return -1;
    *out = pg_int(row, 0, "count");
    return 0;
}

/* -1, or whether the key is there, an owner's, and not revoked yet. */
static int look(struct pg_conn *conn, const char *id, bool *there, bool *active_owner, json_t **out,
                struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    if (pg_run(conn, &get_stmt, PG_PARAMS(id), &row, err) != 0)
        return -1;
    *there = PQntuples(row) == 1;
    *active_owner =
        *there && strcmp(pg_text(row, 0, "role"), "owner") == 0 && pg_null(row, 0, "revoked");
    *out = *there ? record_json(row, 0) : NULL;
    return 0;
}

int keys_remove(struct pg_conn *conn, const char *id, const char *by, enum keys_removal *result,
                json_t **out, struct err *err)
{
    AUTO_JSON json_t *before = NULL;
    bool there, active_owner;
    int64_t others = 1;
    *out = NULL;
    if (pg_run(conn, &lock_stmt, NULL, 0, NULL, err) != 0 ||
        look(conn, id, &there, &active_owner, &before, err) != 0 ||
        (active_owner && other_owners(conn, id, &others, err) != 0))
        return -1;
    *result = !there ? KEYS_ABSENT : others == 0 ? KEYS_LAST_OWNER : KEYS_REMOVED;
    if (*result != KEYS_REMOVED)
        return 0;
    if (pg_run(conn, &remove_stmt, PG_PARAMS(id, by), NULL, err) != 0)
        return -1;
    return look(conn, id, &there, &active_owner, out, err);
}

int keys_have_owner(struct pg_conn *conn, bool *out, struct err *err)
{
    int64_t count;
    if (other_owners(conn, "", &count, err) != 0)
        return -1;
    *out = count > 0;
    return 0;
}

int keys_bootstrap(struct pg_conn *conn, const char *text, bool *added, struct err *err)
{
    AUTO_PG_RESULT PGresult *row = NULL;
    char id[KEYS_ID + 1], hash[KEYS_HASH + 1];
    bool have;
    *added = false;
    keys_hash(text, id, hash);
    if (pg_run(conn, &lock_stmt, NULL, 0, NULL, err) != 0 || keys_have_owner(conn, &have, err) != 0)
        return -1;
    if (have)
        return 0;
    if (pg_run(conn, &first_stmt, PG_PARAMS(id, hash), &row, err) != 0)
        return -1;
    *added = PQntuples(row) == 1;
    return 0;
}
