/* The price book as the world reads it. For pricebook*.c and the API. */
#ifndef QUOTED_PRICEBOOK_JSON_H
#define QUOTED_PRICEBOOK_JSON_H

#include "libcommon/json.h"
#include "services/quoted/pricebook.h"

/* Fills version, pricing and pricing_len. The same book gives the same bytes. */
void pricebook_json(struct pricebook *book, const struct quote_domain *domain);
/* [{name, id, protocols}]; the caller owns it. */
json_t *pricebook_services_json(const struct pricebook *book);

#endif
