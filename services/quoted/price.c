/* The one formula of the price book. 64 bits of unit price, 29 of seconds and 7 of percent fit into
 * 128, so the product is exact before it is divided. */
#include "services/quoted/price.h"

#include <assert.h>

int price_exact(const struct price_rule *rule, uint64_t *out, struct err *err)
{
    assert(rule->period_s > 0 && rule->days > 0 && rule->days <= 1 << 12);
    assert(rule->discount >= 0 && rule->discount <= 100);
    unsigned __int128 num = (unsigned __int128)rule->unit * (uint64_t)(rule->days * PRICE_DAY) *
                            (uint64_t)(100 - rule->discount);
    unsigned __int128 den = (unsigned __int128)(uint64_t)rule->period_s * 100;
    if (num % den != 0)
        return err_set(err,
                       "the price of %lld days at %lld %% discount is no whole number of the "
                       "token's smallest unit",
                       (long long)rule->days, (long long)rule->discount);
    if (num / den > UINT64_MAX)
        return err_set(err, "the price of %lld days is more than 64 bits hold",
                       (long long)rule->days);
    if (num == 0)
        return err_set(err, "the price of %lld days is nothing; it must be more than 0",
                       (long long)rule->days);
    *out = (uint64_t)(num / den);
    return 0;
}
