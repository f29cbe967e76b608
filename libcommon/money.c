/* Owns the decimal form of amounts: every result is exact or refused. Nothing here is floating
 * point. */
#include "libcommon/money.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define MAX_DECIMALS 36 /* what money_format's buffer holds besides "0." and NUL */

static bool append_digit(uint64_t *value, char c)
{
    return c >= '0' && c <= '9' && !__builtin_mul_overflow(*value, 10, value) &&
           !__builtin_add_overflow(*value, (uint64_t)(c - '0'), value);
}

int money_parse(const char *text, unsigned decimals, uint64_t *out)
{
    const char *point = strchr(text, '.');
    size_t whole = point != NULL ? (size_t)(point - text) : strlen(text);
    size_t fraction = point != NULL ? strlen(point + 1) : 0;
    uint64_t value = 0;

    if (whole == 0 || (point != NULL && fraction == 0) || fraction > decimals)
        return -1;
    for (size_t i = 0; i < whole; i++)
        if (!append_digit(&value, text[i]))
            return -1;
    /* What is nothing stays nothing; anything else overflows after a few digits. */
    for (size_t i = 0; i < decimals && (value > 0 || i < fraction); i++)
        if (!append_digit(&value, i < fraction ? point[1 + i] : '0'))
            return -1;
    *out = value;
    return 0;
}

void money_format(uint64_t amount, unsigned decimals, char out[40])
{
    char digits[24];
    unsigned places = decimals < MAX_DECIMALS ? decimals : MAX_DECIMALS;
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, amount);
    unsigned count = (unsigned)len;
    size_t used = 0;

    if (count <= places)
        out[used++] = '0';
    for (unsigned i = 0; i + places < count; i++)
        out[used++] = digits[i];
    out[used] = '\0';
    if (places == 0 || amount == 0)
        return;
    out[used++] = '.';
    for (unsigned i = count; i < places; i++)
        out[used++] = '0';
    for (unsigned i = count > places ? count - places : 0; i < count; i++)
        out[used++] = digits[i];
    while (out[used - 1] == '0')
        used--;
    if (out[used - 1] == '.')
        used--;
    out[used] = '\0';
}
