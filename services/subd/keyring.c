/* Loads the keys once at the start; immutable from then on, shared by all threads. */
#include "services/subd/keyring.h"

#include "libcommon/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PEM_MAX 16384

struct keyring {
    struct jwt_key **keys;
    size_t count;
    char *jwks;
};

static int read_file(const char *path, char out[PEM_MAX], size_t *len, struct err *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return err_set(err, "%s: %s", path, strerror(errno));
    *len = fread(out, 1, PEM_MAX, file);
    int failed = ferror(file);
    fclose(file);
    if (failed)
        return err_set(err, "%s: cannot be read", path);
    return *len < PEM_MAX ? 0 : err_set(err, "%s: longer than %d bytes", path, PEM_MAX - 1);
}

static int load(const char *entry, struct jwt_key **out, struct err *err)
{
    char pem[PEM_MAX];
    size_t len = strlen(entry);
    if (strstr(entry, "-----BEGIN"))
        return jwt_key_from_pem(entry, len, out, err);
    if (read_file(entry, pem, &len, err))
        return -1;
    int failed = jwt_key_from_pem(pem, len, out, err);
    mem_wipe(pem, sizeof(pem));
    return failed ? err_wrap(err, "%s", entry) : 0;
}

int keyring_new(const struct config_list *keys, struct keyring **out, struct err *err)
{
    struct keyring *keyring = mem_zalloc(sizeof(*keyring));
    const char *const *entries = keys->items;
    keyring->keys = mem_array(keys->count + 1, sizeof(struct jwt_key *));
    AUTO_JSON json_t *list = json_array();
    for (size_t i = 0; i < keys->count; i++) {
        if (load(entries[i], &keyring->keys[i], err)) {
            keyring_free(&keyring);
            return err_wrap(err, "tokens.keys[%zu]", i);
        }
        keyring->count++;
        json_array_append_new(list, jwt_key_to_jwk(keyring->keys[i]));
    }
    AUTO_JSON json_t *set = json_pack("{s:O}", "keys", list);
    keyring->jwks = json_text(set);
    *out = keyring;
    return 0;
}

void keyring_free(struct keyring **ptr)
{
    struct keyring *keyring = *ptr;
    if (!keyring)
        return;
    *ptr = NULL;
    for (size_t i = 0; i < keyring->count; i++)
        jwt_key_free(&keyring->keys[i]);
    free(keyring->keys);
    free(keyring->jwks);
    free(keyring);
}

const char *keyring_jwks(const struct keyring *keyring)
{
    return keyring->jwks;
}

int keyring_sign(const struct keyring *keyring, const json_t *claims, char **out, struct err *err)
{
    return jwt_sign(keyring->keys[0], claims, out, err);
}

int keyring_verify(const struct keyring *keyring, const char *token, json_t **claims,
                   struct err *err)
{
    char kid[JWT_KID_LEN + 1];
    size_t len = strlen(token);
    if (jwt_peek(token, len, kid, err))
        return -1;
    for (size_t i = 0; i < keyring->count; i++) {
        if (strcmp(jwt_key_id(keyring->keys[i]), kid) == 0)
            return jwt_verify(keyring->keys[i], token, len, claims, err);
    }
    return err_set(err, "the token's key is not known");
}
