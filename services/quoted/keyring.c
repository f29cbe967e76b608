/* Which key signs is not decided here: the contract says who its signer is, and with two keys at
 * hand the moment at which that changes needs no coordination. */
#include "services/quoted/keyring.h"

#include "libcommon/eth/hex.h"

#include <string.h>
#include <strings.h>

static void add(struct keyring *ring, struct sign_key *key)
{
    struct keyring_key *entry = &ring->keys[ring->count++];
    uint8_t address[20];
    entry->key = key;
    sign_key_address(key, address);
    hex_address_format(address, entry->address);
}

void keyring_free(struct keyring **ringp)
{
    struct keyring *ring = *ringp;
    *ringp = NULL;
    if (ring == NULL)
        return;
    for (size_t i = 0; i < ring->count; i++)
        sign_key_free(&ring->keys[i].key);
    free(ring);
}

int keyring_load(const struct settings_signer *signer, struct keyring **out, struct err *err)
{
    struct sign_key *key = NULL, *next = NULL;
    if (settings_signer(signer, &key, err) != 0)
        return -1;
    if (settings_next_signer(signer, &next, err) != 0) {
        sign_key_free(&key);
        return -1;
    }
    struct keyring *ring = mem_zalloc(sizeof(*ring));
    add(ring, key);
    if (next != NULL)
        add(ring, next);
    *out = ring;
    if (ring->count == 1 || strcmp(ring->keys[0].address, ring->keys[1].address) != 0)
        return 0;
    keyring_free(out);
    return err_set(err, "signer.next_key_file: holds the same key as signer.key or key_file");
}

void keyring_guard(const struct keyring *ring)
{
    static const char *const names[KEYRING_KEYS] = {"signer", "signer.next_key_file"};
    for (size_t i = 0; i < ring->count && i < KEYRING_KEYS; i++)
        sign_key_guard(ring->keys[i].key, names[i]);
}

const struct keyring_key *keyring_find(const struct keyring *ring, const char *signer)
{
    if (signer[0] == '\0')
        return &ring->keys[0];
    for (size_t i = 0; i < ring->count; i++)
        if (strcasecmp(ring->keys[i].address, signer) == 0)
            return &ring->keys[i];
    return NULL;
}
