/* The sponge around nettle's permutation. OpenSSL 3.0 and libgcrypt offer only FIPS 202's padding
 * (0x06); Ethereum fixed Keccak's original one (0x01) before that standard came. */
#include "libcommon/eth/keccak.h"

#include <nettle/sha3.h>
#include <string.h>

#define RATE 136 /* bytes absorbed by one permutation: 1600 - 2 * 256 bits */

static uint64_t load_le64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static void absorb(struct sha3_state *state, const uint8_t block[RATE])
{
    for (size_t i = 0; i < RATE / 8; i++)
        state->a[i] ^= load_le64(block + 8 * i);
    sha3_permute(state);
}

void keccak256(const void *data, size_t len, uint8_t out[32])
{
    struct sha3_state state;
    memset(&state, 0, sizeof(state));
    const uint8_t *in = data;
    for (; len >= RATE; in += RATE, len -= RATE)
        absorb(&state, in);
    uint8_t last[RATE] = {0};
    if (len > 0)
        memcpy(last, in, len);
    last[len] ^= 0x01;
    last[RATE - 1] ^= 0x80;
    absorb(&state, last);
    for (size_t i = 0; i < 32; i++)
        out[i] = (uint8_t)(state.a[i / 8] >> (8 * (i % 8)));
}
