/* Any bytes as a node's answer to a batch: each call is answered once, or nothing is kept. */
#include "services/payd/jsonrpc.h"

#include <stdlib.h>

#define CALLS 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct jsonrpc_answer answers[CALLS];
    struct err err;
    bool refused;
    const void *text = data;
    int rc = jsonrpc_batch_parse(text, size, 3, CALLS, answers, &refused, &err);
    for (size_t i = 0; i < CALLS; i++) {
        bool one = answers[i].failed != (answers[i].result != NULL);
        bool none = !answers[i].failed && answers[i].result == NULL;
        if (rc == 0 && !refused && !one)
            abort();
        if ((rc != 0 || refused) && answers[i].result != NULL)
            abort();
        if (refused && i > 0 && !none)
            abort();
        jsonrpc_answer_clear(&answers[i]);
    }
    return 0;
}
