/* Only hashes are stored. The successor is HMAC(presented token, salt), so who repeats a request
 * whose answer was lost gets the same one again, and nobody can make it from the database. */
#include "services/subd/refresh.h"

#include "libcommon/eth/hex.h"
#include "libcommon/jwt.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

static const struct pg_stmt family_stmt = {
    "refresh_family", "INSERT INTO refresh_family (family, subscription) VALUES ($1, $2)"};
static const struct pg_stmt token_stmt = {
    "refresh_token", "INSERT INTO refresh_token (hash, family, expires_at) VALUES ($1, $2, $3)"};
static const struct pg_stmt find_stmt = {
    "refresh_find", "SELECT t.family, t.expires_at, coalesce(t.spent_at, 0) AS spent_at,"
                    " coalesce(t.salt, '') AS salt, f.subscription, f.revoked,"
                    " EXISTS (SELECT FROM refresh_token n WHERE n.hash = t.successor"
                    " AND n.spent_at IS NULL) AS unused"
                    " FROM refresh_token t JOIN refresh_family f USING (family)"
                    " WHERE t.hash = $1 FOR UPDATE OF f"};
static const struct pg_stmt lock_stmt = {
    "refresh_lock", "SELECT 1 FROM refresh_family f JOIN refresh_token t USING (family)"
                    " WHERE t.hash = $1 FOR UPDATE OF f"};
static const struct pg_stmt spend_stmt = {
    "refresh_spend",
    "UPDATE refresh_token SET spent_at = $2, salt = $3, successor = $4 WHERE hash = $1"};
static const struct pg_stmt revoke_stmt = {
    "refresh_revoke", "UPDATE refresh_family SET revoked = true WHERE family = $1"};

static void hash_token(const char *token, char out[65])
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)token, strlen(token), hash);
    hex_encode_bare(hash, sizeof(hash), out);
}

static void spell(const unsigned char bytes[32], char out[REFRESH_TOKEN_LEN + 1])
{
    AUTO_FREE char *text = jwt_b64url(bytes, 32);
    snprintf(out, REFRESH_TOKEN_LEN + 1, "%s", text);
    mem_wipe(text, strlen(text));
}

static void succeed(const char *token, const char *salt, char out[REFRESH_TOKEN_LEN + 1])
{
    unsigned char mac[SHA256_DIGEST_LENGTH];
    unsigned len = sizeof(mac);
    HMAC(EVP_sha256(), token, (int)strlen(token), (const unsigned char *)salt, strlen(salt), mac,
         &len);
    spell(mac, out);
    mem_wipe(mac, sizeof(mac));
}

static int insert_token(struct pg_conn *conn, const struct refresh_grant *grant, int64_t expires_at,
                        struct err *err)
{
    char hash[65];
    hash_token(grant->token, hash);
    return pg_run(conn, &token_stmt, PG_PARAMS(hash, grant->family, pg_num(expires_at).s), NULL,
                  err);
}

int refresh_begin(struct pg_conn *conn, const char *subscription, int64_t now, int64_t ttl_s,
                  struct refresh_grant *out, struct err *err)
{
    unsigned char random[48];
    if (RAND_bytes(random, sizeof(random)) != 1)
        return err_set(err, "no randomness");
    spell(random, out->token);
    hex_encode_bare(random + 32, 16, out->family);
    mem_wipe(random, sizeof(random));
    snprintf(out->subscription, sizeof(out->subscription), "%s", subscription);
    if (pg_begin(conn, err) ||
        pg_run(conn, &family_stmt, PG_PARAMS(out->family, subscription), NULL, err) ||
        insert_token(conn, out, now + ttl_s, err) || pg_commit(conn, err)) {
        pg_rollback(conn);
        return -1;
    }
    return 0;
}

static enum problem refuse(struct err *err)
{
    err_set(err, "refresh_token: it is unknown, expired or was used before");
    return PROBLEM_INVALID_TOKEN;
}

static enum problem end_family(struct pg_conn *conn, const char *family, bool *reused,
                               struct err *err)
{
    if (pg_run(conn, &revoke_stmt, PG_PARAMS(family), NULL, err) || pg_commit(conn, err))
        return PROBLEM_UNAVAILABLE;
    *reused = true;
    return refuse(err);
}

static enum problem rotate(struct pg_conn *conn, const char *token, const char *hash, int64_t now,
                           int64_t ttl_s, struct refresh_grant *out, struct err *err)
{
    unsigned char random[16];
    char salt[33], next[65];
    if (RAND_bytes(random, sizeof(random)) != 1)
        return PROBLEM_INTERNAL;
    hex_encode_bare(random, sizeof(random), salt);
    succeed(token, salt, out->token);
    hash_token(out->token, next);
    if (insert_token(conn, out, now + ttl_s, err) ||
        pg_run(conn, &spend_stmt, PG_PARAMS(hash, pg_num(now).s, salt, next), NULL, err) ||
        pg_commit(conn, err))
        return PROBLEM_UNAVAILABLE;
    return PROBLEM_NONE;
}

/* The family's row is locked first, so that of two uses at once the second sees the first. */
static enum problem spend_found(struct pg_conn *conn, const char *token, const char *hash,
                                const PGresult *found, int64_t now, int64_t ttl_s,
                                struct refresh_grant *out, bool *reused, struct err *err)
{
    int64_t spent_at = pg_int(found, 0, "spent_at");
    if (spent_at == 0)
        return rotate(conn, token, hash, now, ttl_s, out, err);
    if (now - spent_at > REFRESH_REPEAT_S || !pg_bool(found, 0, "unused"))
        return end_family(conn, out->family, reused, err);
    succeed(token, pg_text(found, 0, "salt"), out->token);
    return PROBLEM_NONE;
}

static enum problem transact(struct pg_conn *conn, const char *token, int64_t now, int64_t ttl_s,
                             struct refresh_grant *out, struct record *record, bool *reused,
                             struct err *err)
{
    AUTO_PG_RESULT PGresult *found = NULL;
    char hash[65];
    bool known;
    hash_token(token, hash);
    if (pg_begin(conn, err) || pg_run(conn, &lock_stmt, PG_PARAMS(hash), NULL, err) ||
        pg_run(conn, &find_stmt, PG_PARAMS(hash), &found, err))
        return PROBLEM_UNAVAILABLE;
    if (PQntuples(found) == 0 || pg_bool(found, 0, "revoked") ||
        pg_int(found, 0, "expires_at") <= now)
        return refuse(err);
    snprintf(out->family, sizeof(out->family), "%s", pg_text(found, 0, "family"));
    snprintf(out->subscription, sizeof(out->subscription), "%s", pg_text(found, 0, "subscription"));
    if (record_get(conn, out->subscription, false, now, record, &known, err))
        return PROBLEM_UNAVAILABLE;
    if (!known || record->pub.state != SUB_ACTIVE || record->pub.expiry <= now) {
        err_set(err, "the subscription is %s", sub_state_name(record->pub.state));
        return PROBLEM_PAYMENT_REQUIRED;
    }
    return spend_found(conn, token, hash, found, now, ttl_s, out, reused, err);
}

enum problem refresh_spend(struct pg_conn *conn, const char *token, int64_t now, int64_t ttl_s,
                           struct refresh_grant *out, struct record *record, bool *reused,
                           struct err *err)
{
    *reused = false;
    enum problem problem = transact(conn, token, now, ttl_s, out, record, reused, err);
    pg_rollback(conn);
    return problem;
}
