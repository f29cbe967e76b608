/* Any bytes as a keystore: what is taken keeps its bounds, and opens with no password that is cheap
 * to try. */
#include "libcommon/eth/keystore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct keystore keystore;
    struct sign_key *key = NULL;
    struct err err;
    if (keystore_parse((const char *)data, size, &keystore, &err) != 0)
        return 0;
    bool scrypt = keystore.kdf == KEYSTORE_SCRYPT;
    uint64_t blocks = keystore.n + keystore.p, work = keystore.n * keystore.r * keystore.p;
    if (keystore.salt_len > KEYSTORE_SALT_MAX || keystore.ciphertext_len > KEYSTORE_SECRET_MAX ||
        (scrypt && (blocks * keystore.r > KEYSTORE_MEMORY / 128 || work > KEYSTORE_WORK)) ||
        (!scrypt && keystore.rounds > KEYSTORE_ROUNDS))
        abort();
    if (scrypt ? work > 256 || blocks * keystore.r > 1024 : keystore.rounds > 256)
        return 0;
    if (keystore_decrypt(&keystore, "foo", &key, &err) == 0)
        sign_key_free(&key);
    return 0;
}
