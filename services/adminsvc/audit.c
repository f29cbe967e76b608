/* Appending takes the lock of the one row that holds the chain's end, so numbers have no gap and no
 * two rows share a predecessor. Each row's hash also goes into the service's log lines: who
 * rewrites the table and its end would have to rewrite those too. */
#include "services/adminsvc/audit.h"

#include "libcommon/clock.h"
#include "libcommon/eth/hex.h"
#include "libcommon/log.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define CHUNK 1000

static const struct pg_stmt head_stmt = {"admin_audit_head",
                                         "SELECT seq, hash FROM audit_head FOR UPDATE"};
static const struct pg_stmt look_stmt = {"admin_audit_look", "SELECT seq, hash FROM audit_head"};
static const struct pg_stmt move_stmt = {"admin_audit_move",
                                         "UPDATE audit_head SET seq = $1, hash = $2"};
static const struct pg_stmt add_stmt = {
    "admin_audit_add",
    "INSERT INTO audit (seq, at_ms, actor, role, client, request_id, action, target, status,"
    " problem, detail, prev, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, "
    "$13)"};
#define COLUMNS                                                                                    \
    "seq, at_ms, actor, role, client, request_id, action, target, status, problem, detail, prev,"  \
    " hash"
static const struct pg_stmt page_stmt = {
    "admin_audit_page",
    "SELECT " COLUMNS " FROM audit WHERE $1 = 0 OR seq < $1 ORDER BY seq DESC LIMIT $2"};
static const struct pg_stmt walk_stmt = {
    "admin_audit_walk",
    "SELECT " COLUMNS " FROM audit WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3"};

static void mix(EVP_MD_CTX *md, const char *text)
{
    char len[24];
    int digits = snprintf(len, sizeof(len), "%zu:", strlen(text));
    if (EVP_DigestUpdate(md, len, (size_t)digits) != 1 ||
        EVP_DigestUpdate(md, text, strlen(text)) != 1 || EVP_DigestUpdate(md, ",", 1) != 1)
        abort();
}

void audit_hash(const char *prev, int64_t seq, const struct audit_entry *entry,
                char out[AUDIT_HASH + 1])
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    struct pg_num number = pg_num(seq), at = pg_num(entry->at_ms), status = pg_num(entry->status);
    const char *fields[] = {
        prev,           number.s,          at.s,          entry->actor,  entry->role,
        entry->client,  entry->request_id, entry->action, entry->target, status.s,
        entry->problem, entry->detail};
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    if (md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
        abort();
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        mix(md, fields[i]);
    if (EVP_DigestFinal_ex(md, hash, NULL) != 1)
        abort();
    EVP_MD_CTX_free(md);
    hex_encode_bare(hash, 32, out);
}

static int insert(struct pg_conn *conn, const char *prev, int64_t seq,
                  const struct audit_entry *entry, const char *hash, struct err *err)
{
    struct pg_num number = pg_num(seq), at = pg_num(entry->at_ms), status = pg_num(entry->status);
    if (pg_run(conn, &add_stmt,
               PG_PARAMS(number.s, at.s, entry->actor, entry->role, entry->client,
                         entry->request_id, entry->action, entry->target, status.s, entry->problem,
                         entry->detail, prev, hash),
               NULL, err) != 0)
        return -1;
    return pg_run(conn, &move_stmt, PG_PARAMS(number.s, hash), NULL, err);
}

int audit_append(struct pg_conn *conn, const struct audit_entry *entry, struct err *err)
{
    AUTO_PG_RESULT PGresult *head = NULL;
    char hash[AUDIT_HASH + 1];
    if (pg_run(conn, &head_stmt, NULL, 0, &head, err) != 0)
        return err_wrap(err, "audit");
    if (PQntuples(head) != 1)
        return err_set(err, "audit: the end of the chain is missing");
    int64_t seq = pg_int(head, 0, "seq") + 1;
    audit_hash(pg_text(head, 0, "hash"), seq, entry, hash);
    if (insert(conn, pg_text(head, 0, "hash"), seq, entry, hash, err) != 0)
        return err_wrap(err, "audit");
    log_info("admin call", LOG_STR(NAME, entry->action), LOG_STR(ACTOR, entry->actor),
             LOG_STR(CLIENT, entry->client), LOG_INT(STATUS, entry->status), LOG_INT(SEQ, seq),
             LOG_STR(HASH, hash), LOG_STR(REQUEST_ID, entry->request_id));
    return 0;
}

static struct audit_entry entry_of(const PGresult *rows, int row)
{
    return (struct audit_entry){
        .at_ms = pg_int(rows, row, "at_ms"),
        .actor = pg_text(rows, row, "actor"),
        .role = pg_text(rows, row, "role"),
        .client = pg_text(rows, row, "client"),
        .request_id = pg_text(rows, row, "request_id"),
        .action = pg_text(rows, row, "action"),
        .target = pg_text(rows, row, "target"),
        .status = (int)pg_int(rows, row, "status"),
        .problem = pg_text(rows, row, "problem"),
        .detail = pg_text(rows, row, "detail"),
    };
}

static json_t *row_json(const PGresult *rows, int row)
{
    struct audit_entry entry = entry_of(rows, row);
    char at[32];
    json_t *detail = NULL;
    clock_rfc3339(entry.at_ms / 1000, at);
    if (entry.detail[0] == '\0' || json_parse(entry.detail, strlen(entry.detail), &detail, NULL))
        detail = json_null();
    return json_pack("{s:I, s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:o, s:s, s:s}",
                     "seq", (json_int_t)pg_int(rows, row, "seq"), "at", at, "at_ms",
                     (json_int_t)entry.at_ms, "actor", entry.actor, "role", entry.role, "client",
                     entry.client, "request_id", entry.request_id, "action", entry.action, "target",
                     entry.target, "status", entry.status, "problem", entry.problem, "detail",
                     detail, "prev", pg_text(rows, row, "prev"), "hash",
                     pg_text(rows, row, "hash"));
}

int audit_page(struct pg_conn *conn, int64_t before, int64_t limit, json_t **out, int64_t *last_seq,
               struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    struct pg_num from = pg_num(before), count = pg_num(limit);
    if (pg_run(conn, &page_stmt, PG_PARAMS(from.s, count.s), &rows, err) != 0)
        return -1;
    *out = json_array();
    *last_seq = 0;
    for (int i = 0; i < PQntuples(rows); i++) {
        json_array_append_new(*out, row_json(rows, i));
        *last_seq = pg_int(rows, i, "seq");
    }
    return 0;
}

static void broken(struct audit_report *report, int64_t seq, const char *reason)
{
    report->ok = false;
    report->broken = seq;
    report->reason = reason;
}

static void check_row(struct audit_report *report, const PGresult *rows, int row)
{
    struct audit_entry entry = entry_of(rows, row);
    int64_t seq = pg_int(rows, row, "seq");
    char hash[AUDIT_HASH + 1];
    if (seq != report->rows + 1) {
        broken(report, report->rows + 1, "the row is missing");
        return;
    }
    if (strcmp(pg_text(rows, row, "prev"), report->hash) != 0) {
        broken(report, seq, "the row does not follow the one before it");
        return;
    }
    audit_hash(report->hash, seq, &entry, hash);
    if (strcmp(pg_text(rows, row, "hash"), hash) != 0) {
        broken(report, seq, "the row's content does not have its hash");
        return;
    }
    memcpy(report->hash, hash, sizeof(hash));
    report->rows = seq;
}

static int walk(struct pg_conn *conn, struct audit_report *report, bool *more, struct err *err)
{
    AUTO_PG_RESULT PGresult *rows = NULL;
    struct pg_num after = pg_num(report->rows), head = pg_num(report->head), chunk = pg_num(CHUNK);
    if (pg_run(conn, &walk_stmt, PG_PARAMS(after.s, head.s, chunk.s), &rows, err) != 0)
        return -1;
    *more = PQntuples(rows) == CHUNK;
    for (int i = 0; i < PQntuples(rows) && report->ok; i++)
        check_row(report, rows, i);
    return 0;
}

int audit_verify(struct pg_conn *conn, struct audit_report *out, struct err *err)
{
    AUTO_PG_RESULT PGresult *head = NULL;
    bool more = true;
    *out = (struct audit_report){.ok = true, .reason = ""};
    memset(out->hash, '0', AUDIT_HASH);
    if (pg_run(conn, &look_stmt, NULL, 0, &head, err) != 0)
        return -1;
    if (PQntuples(head) != 1) {
        broken(out, 0, "the end of the chain is missing");
        return 0;
    }
    out->head = pg_int(head, 0, "seq");
    while (more && out->ok)
        if (walk(conn, out, &more, err) != 0)
            return -1;
    if (out->ok && (out->rows != out->head || strcmp(out->hash, pg_text(head, 0, "hash")) != 0))
        broken(out, out->rows + 1, "the chain does not reach its end");
    return 0;
}
