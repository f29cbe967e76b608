/* What a duration costs: exact integers or nothing. A price that would have to be rounded is
 * refused where the price book is read, so no quote ever rounds one. */
#ifndef QUOTED_PRICE_H
#define QUOTED_PRICE_H

#include "libcommon/err.h"

#include <stdint.h>

#define PRICE_DAY 86400

struct price_rule {
    uint64_t unit;    /* smallest units of the token for one period */
    int64_t period_s; /* > 0 */
    int64_t days;     /* > 0 */
    int64_t discount; /* percent, 0..100 */
};

/* unit * days / period * (1 - discount); -1 where that is no whole number, is 0, or does not fit.
 */
int price_exact(const struct price_rule *rule, uint64_t *out, struct err *err) MUST_USE;

#endif
