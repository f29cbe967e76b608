/* What is for sale: tokens, services, durations and tiers with their limits and prices, read from
 * YAML, checked whole, and then never changed. Who holds a book keeps a reference; a reload makes a
 * new one. */
#ifndef QUOTED_PRICEBOOK_H
#define QUOTED_PRICEBOOK_H

#include "libcommon/config.h"
#include "libcommon/proto/quote.h"

#include <stdbool.h>

#define PRICEBOOK_NAME       63
#define PRICEBOOK_SYMBOL     16
#define PRICEBOOK_TOKENS_MAX 127

struct pricebook_token {
    char symbol[PRICEBOOK_SYMBOL + 1];
    uint8_t address[20];
    unsigned decimals;
    uint8_t index; /* in the contract's table */
};

/* How a service may be called: what a buyer is told. What is let through, the proxy's routes say.
 */
#define PRICEBOOK_PROTOCOLS 4
extern const char *const pricebook_protocols[PRICEBOOK_PROTOCOLS + 1]; /* ended by NULL */

struct pricebook_service {
    char name[PRICEBOOK_NAME + 1];
    struct word id;
    bool protocols[PRICEBOOK_PROTOCOLS]; /* at least one */
};

struct pricebook_duration {
    int64_t days;
    int64_t discount; /* percent */
};

struct pricebook_limits {
    int64_t rate, burst, requests, requests_per_day, bytes, messages, cost, bandwidth; /* 0: none */
};

struct pricebook_tier {
    char name[PRICEBOOK_NAME + 1];
    int64_t period_s;
    struct pricebook_limits limits;
    uint16_t plan; /* given by the database; 0 until then */
    int64_t plan_version;
};

struct pricebook {
    struct pricebook_token *tokens;
    size_t token_count;
    struct pricebook_service *services;
    size_t service_count;
    struct pricebook_duration *durations;
    size_t duration_count;
    struct pricebook_tier *tiers;
    size_t tier_count;
    uint64_t *units;   /* a period's price by tier, service, token; 0: not sold */
    uint64_t *amounts; /* the same by duration too */
    char version[65];  /* SHA-256 of `pricing` without it, hex */
    char *pricing;     /* the answer of GET /pricing */
    size_t pricing_len;
    int refs;
};

/* The contract's tokens as the deployment tells them: an address that the book leaves out is found
 * here by its index. */
struct pricebook_chain {
    struct quote_domain domain;
    uint8_t tokens[PRICEBOOK_TOKENS_MAX + 1][20]; /* by index; all zero: unknown */
    char receipt_signer[43];                      /* for discovery; empty: none */
};

extern const struct config_schema pricebook_schema;

/* Errors begin with "name:line: ". */
int pricebook_parse(const char *name, const char *text, size_t len,
                    const struct pricebook_chain *chain, struct pricebook **out,
                    struct err *err) MUST_USE;
int pricebook_load(const char *path, const struct pricebook_chain *chain, struct pricebook **out,
                   struct err *err) MUST_USE;
/* Not thread-safe: the holder's lock guards the count. */
struct pricebook *pricebook_ref(struct pricebook *book);
void pricebook_unref(struct pricebook **book);

/* NULL: there is none. A token is found by its symbol or its address. */
const struct pricebook_tier *pricebook_tier(const struct pricebook *book, const char *name);
const struct pricebook_service *pricebook_service(const struct pricebook *book, const char *name);
const struct pricebook_token *pricebook_token(const struct pricebook *book, const char *name);
const struct pricebook_duration *pricebook_duration(const struct pricebook *book, int64_t days);
uint64_t pricebook_unit(const struct pricebook *book, size_t tier, size_t service, size_t token);
uint64_t pricebook_amount(const struct pricebook *book, const struct pricebook_tier *tier,
                          const struct pricebook_service *service,
                          const struct pricebook_token *token,
                          const struct pricebook_duration *duration);

#endif
