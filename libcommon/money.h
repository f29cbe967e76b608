/* Checked integer arithmetic on amounts in a token's smallest unit. Each function returns -1 and
 * leaves *out alone where the exact result does not fit: money is never rounded or wrapped
 * silently. */
#ifndef LIBCOMMON_MONEY_H
#define LIBCOMMON_MONEY_H

#include "libcommon/err.h"

#include <stdint.h>

int money_add(uint64_t a, uint64_t b, uint64_t *out) MUST_USE;
int money_sub(uint64_t a, uint64_t b, uint64_t *out) MUST_USE;
int money_mul(uint64_t a, uint64_t b, uint64_t *out) MUST_USE;
/* a * num / den rounded down; den > 0. */
int money_mul_div(uint64_t a, uint64_t num, uint64_t den, uint64_t *out) MUST_USE;
/* "12.50" with 6 decimals -> 12500000. More digits than decimals, a sign, an exponent or anything
 * else is refused. */
int money_parse(const char *text, unsigned decimals, uint64_t *out) MUST_USE;
/* Smallest units as an exact decimal with trailing zeros cut: 12500000, 6 -> "12.5". */
void money_format(uint64_t amount, unsigned decimals, char out[40]);

#endif
