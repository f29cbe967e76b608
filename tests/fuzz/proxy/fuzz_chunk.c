/* The chunk decoder: the payload is the same however the input is cut, and never more than it. */
#include "services/proxy/chunk.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
    enum chunk_result result;
    uint64_t hash;
    size_t len;
};

static struct sum decode(const uint8_t *in, size_t size, size_t step)
{
    struct sum sum = {CHUNK_MORE, 0, 0};
    struct chunk_decoder decoder;
    chunk_init(&decoder);
    for (size_t at = 0; at < size && sum.result == CHUNK_MORE; at += step) {
        size_t n = size - at < step ? size - at : step, consumed = 0, len = 0;
        char *copy = malloc(n), *out = NULL;
        memcpy(copy, in + at, n);
        sum.result = chunk_decode(&decoder, copy, n, &consumed, &out, &len);
        for (size_t i = 0; sum.result != CHUNK_ERROR && i < len; i++)
            sum.hash = sum.hash * 31 + (unsigned char)out[i];
        sum.len += sum.result != CHUNK_ERROR ? len : 0;
        free(copy);
    }
    chunk_free(&decoder);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct sum whole = decode(data, size, size), bytes = decode(data, size, 1);
    if (whole.result != bytes.result || whole.len > size)
        abort();
    if (whole.result != CHUNK_ERROR && (whole.hash != bytes.hash || whole.len != bytes.len))
        abort();
    return 0;
}
