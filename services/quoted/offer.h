/* A signed quote and the answer that carries it: everything a wallet needs to check and pay it. The
 * same inputs give the same bytes. */
#ifndef QUOTED_OFFER_H
#define QUOTED_OFFER_H

#include "libcommon/eth/sign.h"
#include "services/quoted/pricebook.h"
#include "services/quoted/terms.h"

struct offer_wish {
    const struct pricebook *book;
    const struct pricebook_service *service;
    const struct pricebook_tier *tier; /* its plan is known */
    const struct pricebook_token *token;
    const struct pricebook_duration *duration;
    uint8_t subscriber[20];
    struct quote_domain domain;
    uint32_t bucket, ttl; /* seconds */
};

struct offer {
    enum terms_kind kind;
    char id[67];
    int64_t expires; /* last Unix second in which it is payable */
    char *body;      /* JSON; the caller's */
};

/* Terms only. A refusal other than TERMS_OK is explained in `why`, for the client. */
enum terms_refusal offer_terms(const struct offer_wish *wish, const struct quote_terms *slot,
                               struct terms_offer *out, struct err *why) MUST_USE;
int offer_make(const struct offer_wish *wish, const struct terms_offer *terms,
               const struct sign_key *key, struct offer *out, struct err *err) MUST_USE;

#endif
