/* Request heads: whatever the bytes, slices stay inside them, and reading a prefix never claims
 * more than is there. */
#include "services/proxy/http1.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http1_field fields[32];
    static const struct http1_limits limits = {
        .head_bytes = 4096, .fields = 32, .target_bytes = 1024};
    struct http1_head head = {.fields = fields};
    struct http1_error error;
    char *copy = malloc(size ? size : 1);
    if (size)
        memcpy(copy, data, size);
    if (http1_parse_request(copy, size, &limits, &head, &error) == HTTP1_DONE) {
        if (head.len > size)
            abort();
        for (size_t i = 0; i < head.count; i++)
            if (head.fields[i].value + head.fields[i].value_len > head.len)
                abort();
        http1_drop_hop_by_hop(&head);
    }
    free(copy);
    return 0;
}
