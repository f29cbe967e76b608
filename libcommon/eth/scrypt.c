/* scrypt as RFC 7914 builds it: PBKDF2 stretches the password to p blocks, each is mixed through a
 * table of n copies of itself, and PBKDF2 makes the key of what came out. Words are kept in the
 * machine's order in between. */
#include "libcommon/eth/scrypt.h"

#include "libcommon/mem.h"

#include <endian.h>
#include <openssl/evp.h>
#include <string.h>

#define WORDS 16 /* of a Salsa block, 32 bits each */

#define ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))

static void quarter(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    *b ^= ROTATE(*a + *d, 7);
    *c ^= ROTATE(*b + *a, 9);
    *d ^= ROTATE(*c + *b, 13);
    *a ^= ROTATE(*d + *c, 18);
}

/* Salsa20/8: four times columns, then rows. */
static void salsa(uint32_t block[WORDS])
{
    uint32_t x[WORDS];
    memcpy(x, block, sizeof(x));
    for (int round = 0; round < 4; round++) {
        quarter(&x[0], &x[4], &x[8], &x[12]);
        quarter(&x[5], &x[9], &x[13], &x[1]);
        quarter(&x[10], &x[14], &x[2], &x[6]);
        quarter(&x[15], &x[3], &x[7], &x[11]);
        quarter(&x[0], &x[1], &x[2], &x[3]);
        quarter(&x[5], &x[6], &x[7], &x[4]);
        quarter(&x[10], &x[11], &x[8], &x[9]);
        quarter(&x[15], &x[12], &x[13], &x[14]);
    }
    for (int i = 0; i < WORDS; i++)
        block[i] += x[i];
}

static void add(uint32_t *to, const uint32_t *from, size_t words)
{
    for (size_t i = 0; i < words; i++)
        to[i] ^= from[i];
}

/* The 2r blocks of `in`, chained through Salsa; even ones go to the first half of `out`. */
static void block_mix(const uint32_t *in, uint32_t *out, size_t r)
{
    uint32_t x[WORDS];
    memcpy(x, in + (2 * r - 1) * WORDS, sizeof(x));
    for (size_t i = 0; i < 2 * r; i++) {
        add(x, in + i * WORDS, WORDS);
        salsa(x);
        memcpy(out + (i / 2 + i % 2 * r) * WORDS, x, sizeof(x));
    }
}

/* table: n blocks; spare: one. */
static void ro_mix(uint32_t *block, uint32_t *table, uint32_t *spare, uint64_t n, size_t r)
{
    size_t words = 2 * r * WORDS;
    for (size_t i = 0; i < words; i++)
        block[i] = le32toh(block[i]);
    for (uint64_t i = 0; i < n; i++) {
        memcpy(table + i * words, block, words * 4);
        block_mix(table + i * words, block, r);
    }
    for (uint64_t i = 0; i < n; i++) {
        const uint32_t *last = block + words - WORDS;
        uint64_t at = ((uint64_t)last[1] << 32 | last[0]) & (n - 1);
        add(block, table + at * words, words);
        memcpy(spare, block, words * 4);
        block_mix(spare, block, r);
    }
    for (size_t i = 0; i < words; i++)
        block[i] = htole32(block[i]);
}

static int stretch(const char *password, const uint8_t *salt, size_t salt_len, uint8_t *out,
                   size_t len)
{
    return PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, (int)salt_len, 1, EVP_sha256(),
                             (int)len, out) == 1
               ? 0
               : -1;
}

int scrypt_derive(const char *password, const uint8_t *salt, size_t salt_len, uint64_t n,
                  uint64_t r, uint64_t p, uint8_t out[32], struct err *err)
{
    size_t block = 128 * r, size = block * (n + p + 1);
    AUTO_FREE uint32_t *memory = malloc(size);
    if (memory == NULL)
        return err_set(err, "scrypt: no %zu bytes of memory", size);
    uint32_t *blocks = memory, *spare = memory + p * block / 4, *table = spare + block / 4;
    int result = stretch(password, salt, salt_len, (uint8_t *)blocks, p * block);
    for (uint64_t i = 0; result == 0 && i < p; i++)
        ro_mix(blocks + i * block / 4, table, spare, n, r);
    if (result == 0)
        result = stretch(password, (const uint8_t *)blocks, p * block, out, 32);
    mem_wipe(memory, size);
    return result == 0 ? 0 : err_set(err, "scrypt: PBKDF2 failed");
}
