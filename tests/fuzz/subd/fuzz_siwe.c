/* The parser of Sign-In messages: never past its bounds, and what it accepts is written back as a
 * message that means the same. */
#include "services/subd/siwe.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct siwe first, second;
    struct err err;
    const char *text = (const char *)data;
    if (siwe_parse(text, size, &first, &err) != 0) {
        assert(err.msg[0] != '\0');
        return 0;
    }
    char *written = siwe_format(&first);
    assert(siwe_parse(written, strlen(written), &second, &err) == 0);
    assert(memcmp(&first, &second, sizeof(first)) == 0);
    free(written);
    return 0;
}
