/* Amounts in a token's smallest unit as people write them. -1, and *out is left alone, where the
 * exact value does not fit: money is never rounded or wrapped silently. */
#ifndef LIBCOMMON_MONEY_H
#define LIBCOMMON_MONEY_H

#include "libcommon/err.h"

#include <stdint.h>

/* "12.50" with 6 decimals -> 12500000. More digits than decimals, a sign, an exponent or anything
 * else is refused. */
int money_parse(const char *text, unsigned decimals, uint64_t *out) MUST_USE;
/* Smallest units as an exact decimal with trailing zeros cut: 12500000, 6 -> "12.5". */
void money_format(uint64_t amount, unsigned decimals, char out[40]);

#endif
