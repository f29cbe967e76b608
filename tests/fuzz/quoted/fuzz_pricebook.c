/* Any bytes as a price book: refused with a place, or a book whose every price is exact. */
#include "services/quoted/pricebook.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct pricebook_chain chain = {.domain = {4441, {1}}, .tokens = {[1] = {2}}};
    struct pricebook *book = NULL;
    struct err err = {""};
    if (pricebook_parse("f", (const char *)data, size, &chain, &book, &err) != 0) {
        if (strncmp(err.msg, "f:", 2) != 0)
            abort();
        return 0;
    }
    if (book->tier_count == 0 || book->token_count == 0 || strlen(book->version) != 64)
        abort();
    pricebook_unref(&book);
    return 0;
}
