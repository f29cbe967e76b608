/* 0x-hex as JSON-RPC, the wire and people write it, and addresses with the checksum of EIP-55,
 * which is the only protection a typed address has. */
#include "libcommon/eth/hex.h"

#include "libcommon/eth/keccak.h"

#include <stdbool.h>
#include <string.h>

static const char digits[] = "0123456789abcdef";

void hex_encode_bare(const void *data, size_t len, char *out)
{
    const uint8_t *in = data;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * len] = '\0';
}

void hex_encode(const void *data, size_t len, char *out)
{
    out[0] = '0';
    out[1] = 'x';
    hex_encode_bare(data, len, out + 2);
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int hex_decode_any(const char *text, void *out, size_t max, size_t *len)
{
    if (text[0] != '0' || text[1] != 'x')
        return -1;
    uint8_t *bytes = out;
    size_t n = 0;
    for (text += 2; *text != '\0'; text += 2) {
        int high = digit_value(text[0]);
        int low = high < 0 ? -1 : digit_value(text[1]);
        if (low < 0 || n == max)
            return -1;
        bytes[n++] = (uint8_t)(high << 4 | low);
    }
    *len = n;
    return 0;
}

int hex_decode(const char *text, void *out, size_t len)
{
    size_t got = 0;
    if (hex_decode_any(text, out, len, &got) != 0 || got != len)
        return -1;
    return 0;
}

void hex_address_format(const uint8_t address[20], char out[43])
{
    uint8_t hash[32];
    hex_encode(address, 20, out);
    keccak256(out + 2, 40, hash);
    for (size_t i = 0; i < 40; i++) {
        unsigned nibble = i % 2 == 0 ? hash[i / 2] >> 4 : hash[i / 2] & 15u;
        char *c = out + 2 + i;
        if (nibble >= 8 && *c >= 'a')
            *c = (char)(*c - 'a' + 'A');
    }
}

static bool mixed_case(const char *text)
{
    size_t upper = strcspn(text, "ABCDEF");
    size_t lower = strcspn(text, "abcdef");
    return text[upper] != '\0' && text[lower] != '\0';
}

int hex_address(const char *text, uint8_t out[20], struct err *err)
{
    uint8_t address[20];
    if (hex_decode(text, address, sizeof(address)) != 0)
        return err_set(err, "must be an address: 0x and 40 hex digits");
    if (mixed_case(text + 2)) {
        char right[43];
        hex_address_format(address, right);
        if (strcmp(text, right) != 0)
            return err_set(err,
                           "the address's EIP-55 checksum is wrong: a digit or a case differs");
    }
    memcpy(out, address, sizeof(address));
    return 0;
}
