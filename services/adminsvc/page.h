/* What the handlers of the API have in common: the parameters of a page, a page as JSON, a text of
 * the body, and the refusal of another service. */
#ifndef ADMINSVC_PAGE_H
#define ADMINSVC_PAGE_H

#include "services/adminsvc/call.h"

#define PAGE_REASON_MAX 256

/* Each: -1 or NULL, refused. */
int page_limit(struct call *call, int64_t *out) MUST_USE;
/* position "" where the page is the first. `kind` as cursor.h has it. */
int page_cursor(struct call *call, char kind, bool (*valid)(const char *text, size_t len),
                char *position, size_t size) MUST_USE;
/* "" where any will do; lower case. */
int page_subscriber(struct call *call, char out[43]) MUST_USE;
const char *page_text(struct call *call, json_t *body, const char *field, size_t max);

/* items is stolen; next "": the last page. */
json_t *page_json(json_t *items, char kind, const char *next);
/* err is "<problem>: <message>" as the owner of the data answered; anything else is its being away.
 */
void page_refuse(struct call *call, const char *owner, const struct err *err);

#endif
