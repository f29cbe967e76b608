/* What a quote's terms are, given what the subscriber holds: a pure function, the same one that the
 * contract checks when the quote is paid (docs/interfaces.md, "Contract"). */
#ifndef QUOTED_TERMS_H
#define QUOTED_TERMS_H

#include "libcommon/proto/quote.h"

/* From here on `valid until` would not fit its 24 bits, with the longest ttl. */
#define TERMS_LAST      (QUOTE_EPOCH + 60LL * (1 << 24) - 10000)
#define TERMS_MAX_AHEAD (20LL * 366 * 86400) /* seconds from now to the end of a renewed grant */

enum terms_kind { TERMS_NEW, TERMS_RENEWAL, TERMS_CHANGE };

/* Why there are none. */
enum terms_refusal {
    TERMS_OK,
    TERMS_OTHER_TOKEN, /* what is held was paid in another token */
    TERMS_HOLDS_MORE,  /* what is held is worth more than the price: nothing is paid out */
    TERMS_TOO_LONG,    /* the grant would end too far away */
    TERMS_TOO_MUCH,    /* the grant would hold more than 64 bits */
    TERMS_NO_SEQ,      /* the slot has counted to its end */
};

struct terms_wish {
    uint32_t bucket; /* issue time, rounded down to a multiple of ttl */
    uint32_t ttl;    /* seconds, a multiple of 60 */
    uint32_t duration_s;
    uint64_t price;
    uint16_t plan, rate, bandwidth;
    uint32_t quota;
    uint8_t token; /* index */
};

struct terms_offer {
    enum terms_kind kind;
    struct quote_terms terms;
    uint64_t due;
    uint64_t held; /* unused value of the slot that was counted */
};

const char *terms_kind_name(enum terms_kind kind);
enum terms_refusal terms_offer(const struct terms_wish *wish, const struct quote_terms *slot,
                               struct terms_offer *out) MUST_USE;
/* The start of the bucket that `now` lies in. */
uint32_t terms_bucket(int64_t now, int64_t ttl);

#endif
