/* API keys: who may call, as what. The text of a key exists once, in the answer that makes it. */
#ifndef ADMINSVC_KEYS_H
#define ADMINSVC_KEYS_H

#include "libcommon/json.h"
#include "libcommon/pg.h"

#define KEYS_ID    20 /* "key_" + 16 hex */
#define KEYS_HASH  64
#define KEYS_TEXT  71 /* "octroi_" + 64 hex */
#define KEYS_LABEL 100

enum keys_role { KEYS_VIEWER, KEYS_OPERATOR, KEYS_OWNER };

struct keys_identity {
    char id[KEYS_ID + 1];
    enum keys_role role;
};

const char *keys_role_name(enum keys_role role);
int keys_role_parse(const char *name, enum keys_role *out) MUST_USE;
bool keys_id_valid(const char *id);

/* A new key's text, from the kernel's randomness. */
void keys_make(char out[KEYS_TEXT + 1]);
/* Id and hash of a key's text. The id is the beginning of the hash, so that one lookup by primary
 * key finds the only candidate, which is then compared in constant time. */
void keys_hash(const char *text, char id[KEYS_ID + 1], char hash[KEYS_HASH + 1]);

/* *found: the text is a key that is not revoked. */
int keys_find(struct pg_conn *conn, const char *text, bool *found, struct keys_identity *out,
              struct err *err) MUST_USE;
/* The record, without the text. */
int keys_add(struct pg_conn *conn, const char *text, enum keys_role role, const char *label,
             const char *by, json_t **out, struct err *err) MUST_USE;
int keys_list(struct pg_conn *conn, json_t **out, struct err *err) MUST_USE;

enum keys_removal { KEYS_REMOVED, KEYS_ABSENT, KEYS_LAST_OWNER };

/* Once removed, removing again answers the same record. */
int keys_remove(struct pg_conn *conn, const char *id, const char *by, enum keys_removal *result,
                json_t **out, struct err *err) MUST_USE;
/* Makes `text` an owner's key where there is no owner; *added tells. */
int keys_bootstrap(struct pg_conn *conn, const char *text, bool *added, struct err *err) MUST_USE;
int keys_have_owner(struct pg_conn *conn, bool *out, struct err *err) MUST_USE;

#endif
