/* Lease requests and replies of hostile bytes. */
#include "libcommon/proto/lease.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lease_request request;
    struct lease_reply reply;
    struct err err;
    const char *text = (const char *)data;
    if (lease_request_decode(text, size, &request, &err) == 0) {
        assert(request.journal_count >= 1 && request.journal_count <= LEASE_JOURNALS_MAX);
        assert(request.ask_count <= SUB_BATCH_MAX);
        char *again = lease_request_encode(&request);
        lease_request_clear(&request);
        assert(lease_request_decode(again, strlen(again), &request, &err) == 0);
        lease_request_clear(&request);
        free(again);
    }
    if (lease_reply_decode(text, size, &reply, &err) == 0) {
        char *again = lease_reply_encode(&reply);
        lease_reply_clear(&reply);
        assert(lease_reply_decode(again, strlen(again), &reply, &err) == 0);
        lease_reply_clear(&reply);
        free(again);
    }
    return 0;
}
