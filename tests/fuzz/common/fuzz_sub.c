/* Subscription messages of hostile bytes. */
#include "libcommon/proto/payment.h"
#include "libcommon/proto/sub.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void requests(const char *text, size_t size)
{
    char ids[SUB_BATCH_MAX][SUB_ID_LEN + 1];
    struct payment_hint hint;
    struct payment_slot_request slot_request;
    size_t count;
    struct err err;
    if (sub_check_decode(text, size, ids, SUB_BATCH_MAX, &count, &err) == 0)
        for (size_t i = 0; i < count; i++)
            assert(sub_id_valid(ids[i], strlen(ids[i])));
    if (payment_hint_decode(text, size, &hint, &err) == 0)
        assert(strlen(hint.payment_id) == PAYMENT_ID_LEN && hint.revision >= 1);
    if (payment_slot_request_decode(text, size, &slot_request, &err) == 0)
        free(payment_slot_request_encode(&slot_request));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sub_record record, *records = NULL;
    struct sub_heartbeat beat;
    struct payment_slot slot;
    struct payment_chain_status status;
    struct err err;
    size_t count;
    int64_t head;
    const char *text = (const char *)data;
    requests(text, size);
    if (sub_check_reply_decode(text, size, &head, &records, &count, &err) == 0)
        free(sub_check_reply_encode(head, records, count));
    free(records);
    if (sub_changed_decode(text, size, &head, &record, &err) == 0)
        free(sub_changed_encode(head, &record));
    if (sub_heartbeat_decode(text, size, &beat, &err) == 0)
        free(sub_heartbeat_encode(&beat));
    if (payment_slot_decode(text, size, &slot, &err) == 0)
        free(payment_slot_encode(&slot));
    if (payment_chain_status_decode(text, size, &status, &err) == 0)
        free(payment_chain_status_encode(&status));
    return 0;
}
