/* Sets of public keys by kid. */
#include "services/proxy/billing_keys.h"

#include "libcommon/json.h"
#include "libcommon/log.h"

#include <string.h>

int billing_keys_new(const json_t *set, struct billing_keys **out, struct err *err)
{
    const json_t *list, *jwk;
    size_t i;
    if (json_get_array(set, "keys", BILLING_KEYS_MAX, &list, err))
        return -1;
    struct billing_keys *keys = mem_zalloc(sizeof(*keys));
    keys->refs = 1;
    json_array_foreach(list, i, jwk)
    {
        if (jwt_key_from_jwk(jwk, &keys->keys[keys->count], err))
            log_warn("a signing key cannot be used", LOG_STR(ERROR, err->msg));
        else
            keys->count++;
    }
    *out = keys;
    return 0;
}

struct billing_keys *billing_keys_ref(struct billing_keys *keys)
{
    atomic_fetch_add_explicit(&keys->refs, 1, memory_order_relaxed);
    return keys;
}

void billing_keys_unref(struct billing_keys *keys)
{
    if (!keys || atomic_fetch_sub_explicit(&keys->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < keys->count; i++)
        jwt_key_free(&keys->keys[i]);
    free(keys);
}

const struct jwt_key *billing_keys_find(const struct billing_keys *keys, const char *kid)
{
    for (size_t i = 0; keys && i < keys->count; i++)
        if (strcmp(jwt_key_id(keys->keys[i]), kid) == 0)
            return keys->keys[i];
    return NULL;
}

bool billing_keys_withdrawn(const struct billing_keys *old, const struct billing_keys *new)
{
    for (size_t i = 0; old && i < old->count; i++)
        if (!billing_keys_find(new, jwt_key_id(old->keys[i])))
            return true;
    return false;
}
