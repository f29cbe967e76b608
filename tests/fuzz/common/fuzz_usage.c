/* Usage batches of hostile bytes: what is accepted says the same when it is written again. */
#include "libcommon/proto/usage.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct usage_batch batch, again;
    struct err err;
    if (usage_batch_decode((const char *)data, size, &batch, &err) != 0)
        return 0;
    assert(batch.count <= USAGE_ENTRIES_MAX && batch.seq >= 1);
    char *text = usage_batch_encode(&batch);
    assert(usage_batch_decode(text, strlen(text), &again, &err) == 0);
    char *second = usage_batch_encode(&again);
    assert(strcmp(text, second) == 0);
    free(text);
    free(second);
    usage_batch_clear(&batch);
    usage_batch_clear(&again);
    return 0;
}
